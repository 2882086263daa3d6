"""Leaks: reference cycles, and connections of an earlier event loop."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys

import pytest

from prefactor_http import PrefactorHttpError
from prefactor_http.testing import Fault, FaultKind

# Thousands of calls through code that other tests cover: measuring them doubles their time.
pytestmark = pytest.mark.no_cover


@pytest.fixture
def api(prefactor_server):
    """The server in its own thread, with its own event loop."""
    return prefactor_server


async def test_a_client_closed_after_its_loop_ended_can_be_opened_again(
    api,
):
    # In its own process, because the first loop leaves connections open.
    program = f"""
import asyncio
from prefactor_http import HttpClientConfig, PrefactorHttpClient

client = PrefactorHttpClient(HttpClientConfig({api.url!r}, {api.token!r}))
asyncio.run(client.validate_token())

async def again():
    await client.close()
    async with client:
        print((await client.validate_token())["status"])

asyncio.run(again())
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "success\n", done.stderr


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.UNAVAILABLE,
        FaultKind.RATE_LIMITED,
        FaultKind.BAD_GATEWAY,
        FaultKind.APPLIED_THEN_500,
        FaultKind.APPLIED_THEN_RESET,
        FaultKind.STALLED_BEFORE_REPLY,
        FaultKind.CUT_IN_BODY,
    ],
)
@pytest.mark.parametrize("gives_up", [False, True])
async def test_a_failed_call_leaves_no_reference_cycles(api, client_for, register, kind, gives_up):
    """aiohttp and asyncio leave cycles when a connection is lost. None may contain our objects."""
    client = await client_for(api, request_timeout=0.3, max_retries=1)
    api.fail_next(Fault(kind))
    await register(client)  # imports tenacity
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        api.fail_next(*[Fault(kind)] * (2 if gives_up else 1))
        try:
            await register(client)
        except PrefactorHttpError:
            assert gives_up
        gc.collect()
        left = [f"{type(item).__module__}.{type(item).__qualname__}" for item in gc.garbage]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    ours = [name for name in left if name.startswith(("prefactor_http.", "tenacity"))]
    assert [name for name in ours if ".testing." not in name] == []
    assert "builtins.traceback" not in left
    assert "builtins.frame" not in left
