"""MkDocs hooks: pages of files outside of ``docs/``, and the API reference.

The Markdown files of this repository link to each other by their paths in the repository, so that
the links work wherever the files are read. Here they become links between pages.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import griffe
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PACKAGE = "prefactor_http"

Entry: TypeAlias = "dict[str, str | list[Entry]]"
Nav: TypeAlias = list[Entry]

# Path in the repository -> path in the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "LICENSE": "license.md",
    "benchmarks/README.md": "benchmarks/index.md",
}
EXAMPLES = {
    path.relative_to(ROOT).as_posix(): f"examples/{path.stem.replace('_', '-')}.md"
    for path in sorted(ROOT.glob("examples/*.py"))
}
IMAGES = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("benchmarks/plots/*.svg"))]

# `cli` is documented as a command. `testing` exports what its modules define.
NO_PAGES = (f"{PACKAGE}.cli", f"{PACKAGE}.__main__")
NO_MODULE_PAGES = (f"{PACKAGE}.testing",)

_LINK = re.compile(r"(?<!`)\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^( *)(```+).*?^\1\2$", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> None:
    """Put the generated pages into the navigation, where it names their folder."""
    folders: dict[str, Nav] = {
        "reference/": [{module.path: _page_of(module)} for module in _modules()],
        "examples/": [{Path(source).name: page} for source, page in EXAMPLES.items()],
    }
    config["nav"] = _with_folders(cast("Nav", config["nav"]), folders)


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages that are not in ``docs/``."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if not source.endswith(".md"):
            text = f"# License\n\n```text\n{text}```\n"
        files.append(File.generated(config, page, content=text))
    for source, page in EXAMPLES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        content = f"# {Path(source).name}\n\n```python\n{text}```\n"
        files.append(File.generated(config, page, content=content))
    for image in IMAGES:
        files.append(File.generated(config, image, abs_src_path=str(ROOT / image)))
    for module in _modules():
        files.append(File.generated(config, _page_of(module), content=_reference(module)))


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Replace links between files by links between pages."""
    sources = {page: source for source, page in {**PAGES, **EXAMPLES}.items()}
    here = page.file.src_uri
    source = sources.get(here, f"docs/{here}")

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        site_path = {**PAGES, **EXAMPLES}.get(target, target.removeprefix("docs/"))
        relative = posixpath.relpath(site_path, posixpath.dirname(here) or ".")
        return f"]({relative}{match[2] or ''})"

    parts: list[str] = []
    end = 0
    for fence in _FENCE.finditer(markdown):
        parts += [_LINK.sub(link, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(link, markdown[end:])])


def _with_folders(nav: Nav, folders: dict[str, Nav]) -> Nav:
    return [
        {
            title: _with_folders(value, folders)
            if isinstance(value, list)
            else folders.get(value, value)
            for title, value in entry.items()
        }
        for entry in nav
    ]


_package: list[griffe.Module] = []


def _modules() -> list[griffe.Module]:
    """Return the public modules, in the order of their paths."""
    if not _package:
        loaded = griffe.load(PACKAGE, search_paths=[str(ROOT)], resolve_aliases=True)
        _package.append(cast("griffe.Module", loaded))
    return sorted(_public_modules(_package[0]), key=lambda module: module.path)


def _public_modules(module: griffe.Module) -> Iterator[griffe.Module]:
    yield module
    if module.path in NO_MODULE_PAGES:
        return
    for child in module.modules.values():
        if not child.name.startswith("_") and child.path not in NO_PAGES:
            yield from _public_modules(child)


def _page_of(module: griffe.Module) -> str:
    return f"reference/{module.path}.md"


def _reference(module: griffe.Module) -> str:
    """Return the page of a module: what it defines, and links to what it only exports."""
    pages = {each.path for each in _modules()}
    own: list[str] = []
    exported: list[str] = []
    private: list[str] = []
    for name in _public_names(module):
        member = module.members[name]
        target = member.final_target if isinstance(member, griffe.Alias) else member
        home = target.module.path
        if home == module.path:
            own.append(name)
        elif home in pages:
            exported.append(f"| [`{name}`][{target.path}] | `{home}` |")
        else:
            private.append(f"::: {target.path}\n    options:\n      show_root_heading: true\n")
    parts = [
        f"# {module.path}\n",
        f"::: {module.path}\n    options:\n      members: {own or 'false'}\n",
        *private,
    ]
    if exported:
        table = "\n".join(["| Name | Defined in |", "|---|---|", *exported])
        parts.append(f"## Exported names\n\n{table}\n")
    return "\n".join(parts)


def _public_names(module: griffe.Module) -> list[str]:
    if module.exports is not None:
        return [str(name) for name in module.exports]
    return [
        name
        for name, member in module.members.items()
        if not name.startswith("_") and not member.is_alias and not member.is_module
    ]
