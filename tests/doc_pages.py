"""The Markdown pages of the documentation, and the code blocks in them."""

import ast
import re
import shlex
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
SETUP_PAGE = ROOT / "docs" / "getting-started.md"
# What the set-up defines for the snippets of all pages.
SETUP_NAMES = ("agent", "agent_id", "client")


class Block(NamedTuple):
    """A fenced code block, its page, and the line where it starts."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.page.stem}-{self.line}"

    def compiled(self):
        # The empty lines make tracebacks name the line of the page.
        source = "\n" * (self.line - 1) + self.text
        return compile(source, str(self.page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def blocks_of(page):
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, match.start(3)) + 1
        yield Block(page, line, match[2], textwrap.dedent(match[3]))


def commands_of(page):
    """Return the shell commands of a page, split into words."""
    lines = [
        line
        for block in blocks_of(page)
        if block.language == "sh"
        for line in block.text.splitlines()
    ]
    named = re.findall(r"`((?:make|prefactor-http|pip) [^`]+)`", page.read_text(encoding="utf-8"))
    return [shlex.split(line, comments=True) for line in [*lines, *named]]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
TESTS = [block for block in PYTHON if "def test_" in block.text]
PROGRAMS = [block for block in PYTHON if block.text.rstrip().endswith("\nasyncio.run(main())")]
# tests/distributed runs this one, because it needs Dask.
ON_A_CLUSTER = [block for block in PYTHON if "from dask" in block.text]
CONTINUED = [block for block in PYTHON if block not in TESTS + PROGRAMS + ON_A_CLUSTER]
(SETUP,) = (block for block in CONTINUED if block.page == SETUP_PAGE)

# The module that the test in README imports.
AGENT_UNDER_TEST = """
from prefactor_http import HttpClientConfig, PrefactorHttpClient


async def my_agent(url: str, token: str) -> None:
    async with PrefactorHttpClient(HttpClientConfig(url, token)) as client:
        async with client.agent_instances.run(
            agent_version={"external_identifier": "v1"},
            agent_schema_version={"external_identifier": "s1", "span_type_schemas": []},
        ):
            pass
"""
