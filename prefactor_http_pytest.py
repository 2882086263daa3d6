"""A pytest plugin: the fixture ``prefactor_server``, a local Prefactor API.

The plugin costs a test run nothing until the fixture is asked for: everything it needs is
imported then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefactor_http.testing import LocalPrefactor


@pytest.fixture
def prefactor_server() -> Iterator[LocalPrefactor]:
    """Yield a running local Prefactor API, fresh for each test.

    It listens in a thread of its own, so that tests with and without an event loop can use it,
    and tests need no asyncio plugin. ``url``, ``token`` and the ids are plain attributes; state
    and counts may be looked at whenever no request is under way.
    """
    from prefactor_http.testing import (  # noqa: PLC0415 # costs nothing until used
        LocalPrefactor,
        serving,
    )

    with serving(LocalPrefactor()) as server:
        yield server
