"""The built site is complete. `make docs` builds it and runs these tests."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
from built_site import SITE, Page, dead_links, read_site

import prefactor_http

# The theme's page for unknown addresses is a title alone.
NOT_FOUND = Path("404.html")

pytestmark = pytest.mark.site


@pytest.fixture(scope="module")
def pages():
    return read_site()


def public_modules():
    yield prefactor_http
    # These export what their modules define.
    packages = ("prefactor_http.testing", "prefactor_http.outbox")
    for module in pkgutil.walk_packages(prefactor_http.__path__, "prefactor_http."):
        hidden = any(part.startswith("_") for part in module.name.split("."))
        if not hidden and not module.name.startswith(("prefactor_http.cli", *packages)):
            yield importlib.import_module(module.name)
    yield from map(importlib.import_module, packages)


MODULES = list(public_modules())


def reference(module):
    return Page(SITE / "reference" / module.__name__ / "index.html")


def test_the_site_has_no_dead_links(pages):
    assert len(pages) > 50
    assert list(dead_links(pages)) == []


def test_no_section_is_empty(pages):
    empty = {path.relative_to(SITE): page.empty_sections for path, page in pages.items()}
    del empty[NOT_FOUND]
    assert {path: titles for path, titles in empty.items() if titles} == {}


def test_every_page_has_one_title(pages):
    for path, page in pages.items():
        if path.relative_to(SITE) != NOT_FOUND:
            assert [level for level, *_ in page.sections].count(1) == 1, path


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_reference_has_every_public_name(module):
    page = SITE / "reference" / module.__name__ / "index.html"
    text = page.read_text(encoding="utf-8")
    names = getattr(module, "__all__", None)
    assert names is not None, f"{module.__name__} has no __all__"
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_reference_has_every_public_method(module):
    ids = reference(module).ids
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) and value.__module__ == module.__name__:
            members = {
                member
                for member, each in vars(value).items()
                if not member.startswith("_")
                and (inspect.isfunction(each) or isinstance(each, property | classmethod))
            }
            missing = {each for each in members if f"{module.__name__}.{name}.{each}" not in ids}
            assert not missing, name


def test_the_search_index_has_the_pages():
    index = (SITE / "search" / "search_index.json").read_text(encoding="utf-8")
    for text in ("getting-started/", "prefactor_http.endpoints.agent_instance/", "derive_key"):
        assert text in index


def test_pages_load_nothing_from_other_hosts(pages):
    for path in pages:
        html = path.read_text(encoding="utf-8")
        loaded = re.findall(
            r'<(?:script|link|img|iframe)\b[^>]*(?:src|href)="(https?:[^"]+)"', html
        )
        assert loaded == [], path
