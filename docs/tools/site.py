"""MkDocs hooks: pages of files outside of ``docs/``, and the API reference.

The Markdown files of this repository link to each other by their paths in the repository, so that
the links work wherever the files are read. Here they become links between pages.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from functools import cache
from itertools import zip_longest
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
    "benchmarks/README.md": "benchmarks.md",
}
EXAMPLES = {
    path.relative_to(ROOT).as_posix(): f"examples/{path.stem.replace('_', '-')}.md"
    for path in sorted(ROOT.glob("examples/*.py"))
}
IMAGES = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("benchmarks/plots/*.svg"))]

# `cli` is documented as a command. `testing` and `outbox` export what their modules define.
NO_PAGES = (f"{PACKAGE}.cli", f"{PACKAGE}.__main__")
NO_MODULE_PAGES = (f"{PACKAGE}.testing", f"{PACKAGE}.outbox")
ENDPOINTS = f"{PACKAGE}.endpoints"

_LINK = re.compile(r"(?<!`)\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")
# Code blocks, headings and links stay as they are.
_NOT_LINKED = re.compile(r"(<(?:pre|h\d|a|autoref)\b.*?</(?:pre|h\d|a|autoref)>)", re.DOTALL)
_SECTION = re.compile(r"§(\d+(?:\.\d+)?)")
# A path alone in a cell, such as one of "All calls", may wrap at its slashes.
_PATH = re.compile(r"(?<=<td><code>)[^<]+/[^<]+(?=</code></td>)")
_CODE = re.compile(r"<code>([\w.]+(?:\(\))?)</code>")
_FENCE = re.compile(r"^( *)(```+).*?^\1\2$", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> None:
    """Put the generated pages into the navigation, where it names their folder."""
    folders: dict[str, Nav] = {
        "reference/": _nav_of(_package()),
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


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """Link names in running text to the API reference, and sections of the contract."""
    if page.file.src_uri.startswith("reference/"):
        # Docstrings announce a code block with two colons.
        html = html.replace("<p>::</p>", "").replace("::</p>", ":</p>")
        html = _SECTION.sub(_link_to_contract, html)
    html = _PATH.sub(lambda match: match[0].replace("/", "<wbr>/"), html)
    parts = _NOT_LINKED.split(html)
    texts = (_CODE.sub(_link_to_reference, part) for part in parts[::2])
    linked = [part for pair in zip_longest(texts, parts[1::2], fillvalue="") for part in pair]
    return "".join(linked)


def _link_to_contract(match: re.Match[str]) -> str:
    return f'<a href="../../api-contract/#section-{match[1].replace(".", "-")}">{match[0]}</a>'


def _link_to_reference(match: re.Match[str]) -> str:
    target = _targets().get(match[1].removesuffix("()"))
    if target is None:
        return match[0]
    return f'<autoref identifier="{target}" optional>{match[0]}</autoref>'


@cache
def _targets() -> dict[str, str]:
    """Return the paths of public names, and of calls such as ``agents.create``."""
    targets: dict[str, str] = {}
    for module in _modules():
        for name in _public_names(module):
            member = module.members[name]
            target = member.final_target if isinstance(member, griffe.Alias) else member
            targets.setdefault(name, target.path)
    client = _package()["client.PrefactorHttpClient"]
    for name, member in client.members.items():
        if name.startswith("_") or (not member.is_attribute and not member.is_function):
            continue
        targets[f"client.{name}"] = member.path
        resource = targets.get(str(member.annotation)) if member.is_attribute else None
        if resource is not None:
            methods = _package()[resource.removeprefix(f"{PACKAGE}.")].members
            targets.update((f"{name}.{method}", f"{resource}.{method}") for method in methods)
    return targets


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


@cache
def _package() -> griffe.Module:
    loaded = griffe.load(PACKAGE, search_paths=[str(ROOT)], resolve_aliases=True)
    return cast("griffe.Module", loaded)


def _nav_of(module: griffe.Module) -> Nav:
    """Return a module's page and those of its modules, by their names below it."""
    return [
        {module.path: _page_of(module)},
        *(
            {child.name: _nav_of(child) if _children(child) else _page_of(child)}
            for child in _children(module)
        ),
    ]


def _modules(below: griffe.Module | None = None) -> Iterator[griffe.Module]:
    """Return the public modules."""
    module = below or _package()
    yield module
    for child in _children(module):
        yield from _modules(child)


def _children(module: griffe.Module) -> list[griffe.Module]:
    if module.path in NO_MODULE_PAGES:
        return []
    public = [
        child
        for name, child in module.modules.items()
        if not name.startswith("_") and child.path not in NO_PAGES
    ]
    return sorted(public, key=lambda child: child.name)


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
            private.append(
                f"::: {module.path}.{name}\n    options:\n"
                "      show_root_heading: true\n      show_root_full_path: false\n"
                "      show_root_toc_entry: true\n"
            )
    own.sort(key=lambda name: module.members[name].lineno or 0)
    options = [f"members: {own or 'false'}"]
    if module.path.startswith(ENDPOINTS):
        # The client creates them; how does not matter to users.
        options += ["show_bases: false", "merge_init_into_class: false"]
    parts = [
        f"# {module.path}\n",
        "\n".join([f"::: {module.path}", "    options:", *(f"      {each}" for each in options)]),
        "",
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
