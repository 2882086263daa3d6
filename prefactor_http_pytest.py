"""A pytest plugin: the fixture ``prefactor_server``, a local Prefactor API.

Everything the fixture needs is imported when a test first uses it, so the plugin costs other test
runs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefactor_http.testing import LocalPrefactor


@pytest.fixture
def prefactor_server() -> Iterator[LocalPrefactor]:
    """Yield a running local Prefactor API, a new one for each test.

    It listens in a background thread, so tests need neither an event loop nor an asyncio plugin.
    ``url``, ``token`` and the ids are plain attributes. State and counters may be read while no
    request is in progress.
    """
    from prefactor_http.testing import (  # noqa: PLC0415 # imported on first use
        LocalPrefactor,
        serving,
    )

    with serving(LocalPrefactor()) as server:
        yield server
