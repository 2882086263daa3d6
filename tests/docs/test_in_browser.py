"""The built site in a browser: layout, colours and search. `make docs` runs these tests."""

import functools
import http.server
import threading

import pytest
from browser import EXECUTABLE, Browser
from built_site import SITE

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(
        EXECUTABLE is None,
        reason="Chromium is not installed; on Debian: apt install chromium",
    ),
]
WIDE, NARROW = 1400, 390
FRONT, GUIDE, TABLES = "", "lifecycle/", "calls/"
REFERENCE = "reference/prefactor_http.endpoints.agent_instance/"
# The right edge of everything visible in the article that does not scroll on its own.
RIGHT_EDGE = """
(() => {
  const scrolls = element => {
    for (let each = element.parentElement; each.tagName != "ARTICLE"; each = each.parentElement)
      if (["auto", "scroll", "hidden"].includes(getComputedStyle(each).overflowX)) return true;
    return false;
  };
  const elements = [...document.querySelectorAll("article *")].filter(each => !scrolls(each));
  return Math.max(...elements.map(each => each.getBoundingClientRect().right));
})()
"""


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def url():
    handler = functools.partial(QuietHandler, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
async def browser():
    async with Browser() as browser:
        yield browser
        assert browser.problems == []


@pytest.mark.parametrize("width", [WIDE, NARROW])
async def test_a_page_fits_the_screen(browser, url, width):
    for path in (FRONT, GUIDE, TABLES, REFERENCE):
        await browser.open(url + path, width)
        assert await browser.evaluate("document.documentElement.scrollWidth") == width, path
        assert await browser.evaluate(RIGHT_EDGE) <= width, path
        assert await browser.evaluate("document.querySelector('h1').innerText.trim()"), path


async def test_the_navigation_is_a_column_on_a_wide_screen_and_a_menu_on_a_narrow_one(browser, url):
    is_on_screen = """
        (() => {
          const box = document.querySelector(".md-sidebar--primary").getBoundingClientRect();
          return box.width > 0 && box.left >= 0 && box.right <= innerWidth;
        })()
    """
    await browser.open(url + GUIDE, WIDE)
    assert await browser.evaluate(is_on_screen)
    await browser.open(url + GUIDE, NARROW)
    assert not await browser.evaluate(is_on_screen)


async def test_every_picture_of_the_front_page_is_shown(browser, url):
    await browser.open(url + FRONT, WIDE)
    pictures = await browser.evaluate(
        "Promise.all([...document.querySelectorAll('article img')]"
        ".map(each => each.decode().then(() => each.naturalWidth)))"
    )
    assert len(pictures) == 2
    assert min(pictures) > 0


async def test_the_colours_follow_the_system_and_the_switch(browser, url):
    background = "getComputedStyle(document.body).backgroundColor"
    await browser.open(url + GUIDE, WIDE)
    light = await browser.evaluate(background)
    await browser.open(url + GUIDE, WIDE, dark=True)
    assert await browser.evaluate(background) != light
    for _ in range(2):
        shown = await browser.evaluate(background)
        await browser.evaluate(
            "document.querySelector('.md-header label[for^=__palette]:not([hidden])').click()"
        )
        if await browser.evaluate(background) != shown:
            return
    pytest.fail("the switch changes no colour")


async def test_the_search_finds_a_page(browser, url):
    await browser.open(url + FRONT, WIDE)
    # The index is loaded when the search is first used.
    found = await browser.evaluate(
        """
        new Promise(resolve => {
          const input = document.querySelector(".md-search__input");
          const list = document.querySelector(".md-search-result__list");
          const show = () => {
            const link = list.querySelector("a[href*='configuration']");
            if (link) resolve(link.getAttribute("href"));
          };
          new MutationObserver(show).observe(list, { childList: true, subtree: true });
          input.focus();
          input.value = "token_refresh_interval";
          input.dispatchEvent(new Event("keyup"));
          input.dispatchEvent(new Event("input"));
        })
        """
    )
    assert "configuration" in found
