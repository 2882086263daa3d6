"""Reads the pages of the built documentation."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag, urljoin, urlsplit

from doc_pages import ROOT

SITE = ROOT / "site"
# Pages of other sites are not checked: that needs network and fails when they do.
OTHER_SCHEMES = ("http", "https", "mailto", "data", "javascript")
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
# Elements that have content without text.
CONTENT = ("img", "table", "pre", "svg", "hr")


class Page(HTMLParser):
    """Collects the links, the ids and the sections of a page.

    Attributes:
        links: Targets of links, images, scripts and styles.
        ids: Ids, which links can point to.
        sections: Level, title and content of each section of the article.
    """

    def __init__(self, path):
        super().__init__()
        self.links = []
        self.ids = set()
        self.sections = []
        self._in_article = False
        self._heading = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.links += [values[name] for name in ("href", "src") if values.get(name)]
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "article":
            self._in_article = True
        elif tag in HEADINGS and self._in_article:
            self._heading = tag
            self.sections.append([int(tag[1]), "", ""])
        elif tag in CONTENT and self.sections and self._in_article:
            self.sections[-1][2] += f"<{tag}>"

    def handle_endtag(self, tag):
        if tag == "article":
            self._in_article = False
        elif tag == self._heading:
            self._heading = None

    def handle_data(self, data):
        if self._in_article and self.sections:
            self.sections[-1][1 if self._heading else 2] += data.strip()

    @property
    def empty_sections(self):
        """Titles of sections without text that are not followed by a section below them."""
        following = [*self.sections[1:], [0, "", ""]]
        return [
            title
            for (level, title, content), (next_level, *_) in zip(
                self.sections, following, strict=True
            )
            if not content and next_level <= level
        ]


def read_site():
    return {path: Page(path) for path in sorted(SITE.rglob("*.html"))}


def dead_links(pages):
    """Return the links to files and anchors that do not exist, with their page."""
    for path, page in pages.items():
        here = f"file://{path}"
        for link in page.links:
            if urlsplit(link).scheme in OTHER_SCHEMES:
                continue
            # The page for unknown addresses uses absolute paths.
            target, anchor = urldefrag(urljoin(here, link) if link[0] != "/" else _of_site(link))
            file = Path(urlsplit(target).path)
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file() or (anchor and file in pages and anchor not in pages[file].ids):
                yield path.relative_to(SITE), link


def _of_site(link):
    return f"file://{SITE}{link}"
