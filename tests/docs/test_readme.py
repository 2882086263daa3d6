"""README is short, and every link between files of the repository has a target."""

import re
import tomllib

import pytest
from doc_pages import PAGES, ROOT

MARKDOWN = [
    *PAGES,
    *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    ROOT / "benchmarks" / "README.md",
]
MAX_LINES = 150
FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)")


def prose(path):
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path):
    text = prose(path)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = [re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles]
    return {*slugs, *re.findall(r'<a id="([^"]+)">', text)}


def test_readme_has_at_most_150_lines():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= MAX_LINES


def test_on_a_package_index_every_link_works():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    hooks = project["tool"]["hatch"]["metadata"]["hooks"]
    for each in hooks["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(each["pattern"], each["replacement"], text)
    assert "[msgspec](https://" in text
    assert "Getting started explains each step" in text
    assert LINK.findall(text) == []


def test_readme_leads_to_every_page_of_the_manual():
    linked = {target for target, _ in LINK.findall(prose(ROOT / "README.md"))}
    pages = {page.relative_to(ROOT).as_posix() for page in PAGES} - {"README.md"}
    assert pages <= linked, "add the page to the table in README"


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_into_the_repository_has_a_target(page):
    for target, anchor in LINK.findall(prose(page)):
        file = (page.parent / target).resolve() if target else page
        assert file.is_file(), target
        assert file.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(file), f"{target}#{anchor}"


def test_the_picture_of_the_demo_comes_from_the_demo():
    picture = (ROOT / "docs" / "images" / "demo.svg").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", "", picture).replace("&#160;", " ")
    for line in ("$ prefactor-http demo", "35% of attempts fail (seed 7)", "applied twice"):
        assert line in text
    assert "http" not in re.sub(r"xmlns=\"[^\"]+\"|<!--.*?-->|prefactor-http", "", picture)
