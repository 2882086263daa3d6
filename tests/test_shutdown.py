"""`cancel_on_signal`: a signal cancels the block, and the instances in it are finished."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http.shutdown import cancel_on_signal
from prefactor_http.testing import LocalPrefactor

WORKER = Path(__file__).parents[1] / "examples" / "worker.py"
VERSIONS = {
    "agent_version": {"external_identifier": "v1"},
    "agent_schema_version": {"external_identifier": "s1", "span_type_schemas": []},
}


def term():
    signal.raise_signal(signal.SIGTERM)


@pytest.fixture(autouse=True)
def handlers_are_restored():
    watched = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(each) for each in watched]
    yield
    assert [signal.getsignal(each) for each in watched] == before


async def test_a_signal_cancels_the_block_and_the_code_after_it_runs():
    async with cancel_on_signal() as stop:
        assert stop.signal is None
        asyncio.get_running_loop().call_later(0.01, term)
        await asyncio.sleep(30)
        pytest.fail("the block must be cancelled")
    assert stop.signal is signal.SIGTERM
    await asyncio.sleep(0)
    assert asyncio.current_task().cancelling() == 0


async def test_a_signal_in_another_thread_wakes_an_idle_loop():
    # So does one that arrives when the loop is about to wait.
    def send():
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    started = asyncio.get_running_loop().time()
    async with cancel_on_signal() as stop:
        sender = threading.Timer(0.2, send)
        sender.start()
        await asyncio.sleep(30)
        pytest.fail("the block must be cancelled")
    assert stop.signal is signal.SIGTERM
    assert asyncio.get_running_loop().time() - started < 15
    sender.join()


async def test_the_loop_s_own_signal_handlers_keep_working():
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    async with cancel_on_signal():
        loop.add_signal_handler(signal.SIGUSR1, came.set)
    try:
        async with cancel_on_signal():
            signal.raise_signal(signal.SIGUSR1)
            await asyncio.wait_for(came.wait(), 15)
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)


async def test_without_a_signal_nothing_changes():
    before = signal.getsignal(signal.SIGTERM)
    async with cancel_on_signal() as stop:
        assert signal.getsignal(signal.SIGTERM) is not before
    assert stop.signal is None
    with pytest.raises(KeyError):
        async with cancel_on_signal():
            raise KeyError("mine")


@pytest.mark.parametrize("is_delivered", [False, True])
async def test_a_cancellation_never_leaves_the_block(is_delivered):
    async with cancel_on_signal() as stop:
        term()
        if is_delivered:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(30)
    assert stop.signal is signal.SIGTERM
    await asyncio.sleep(0.01)


async def test_another_cancellation_propagates():
    async def work(*, swallows):
        async with cancel_on_signal():
            term()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                asyncio.current_task().cancel()
                if not swallows:
                    raise
        await asyncio.sleep(0)

    for swallows in (False, True):
        task = asyncio.create_task(work(swallows=swallows))
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_cancellation_at_the_same_time_propagates():
    async def work():
        async with cancel_on_signal():
            term()
            asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)
            await asyncio.sleep(30)
        pytest.fail("the caller's cancellation was swallowed")

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(work())


async def test_a_block_that_ends_in_time_ends_the_grace_period(caplog):
    # By default, this signal is ignored.
    async with cancel_on_signal(signal.SIGWINCH, grace=0.05):
        signal.raise_signal(signal.SIGWINCH)
        await asyncio.sleep(30)
    await asyncio.sleep(0.1)
    assert "not ended" not in caplog.text


async def test_an_exception_after_the_signal_propagates():
    async def work():
        async with cancel_on_signal():
            term()
            try:
                await asyncio.sleep(30)
            finally:
                raise KeyError("mine")

    with pytest.raises(KeyError):
        await work()
    await asyncio.sleep(0)
    assert asyncio.current_task().cancelling() == 0


async def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        async with cancel_on_signal(signal.SIGUSR1) as stop:
            assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
            signal.raise_signal(signal.SIGUSR1)
            await asyncio.sleep(0.01)
        assert stop.signal is None
    finally:
        signal.signal(signal.SIGUSR1, before)


async def test_a_signal_that_cannot_be_handled_leaves_the_handlers_as_they_were():
    with pytest.raises(OSError, match="Invalid argument"):
        await cancel_on_signal(signal.SIGTERM, signal.SIGKILL).__aenter__()


async def test_it_is_entered_once_in_a_task():
    stop = cancel_on_signal()
    async with stop:
        pass
    with pytest.raises(RuntimeError, match="once"):
        await stop.__aenter__()
    failed = asyncio.get_running_loop().create_future()

    def without_task():
        with pytest.raises(RuntimeError, match="in a task"):
            cancel_on_signal().__aenter__().send(None)
        failed.set_result(None)

    asyncio.get_running_loop().call_soon(without_task)
    await failed


def test_it_works_only_in_the_main_thread():
    problems = []

    def work():
        try:
            asyncio.run(cancel_on_signal().__aenter__())
        except ValueError as error:
            problems.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "main thread" in problems[0]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"grace": "5"}, TypeError),
        ({"grace": True}, TypeError),
        ({"grace": -1}, ValueError),
        ({"grace": float("nan")}, ValueError),
        ({"grace": float("inf")}, ValueError),
    ],
)
def test_the_grace_period_is_a_number_of_seconds(arguments, error):
    with pytest.raises(error, match="grace must be"):
        cancel_on_signal(**arguments)


def test_a_signal_must_be_one():
    with pytest.raises(TypeError, match=r"must be a signal\.Signals, not str"):
        cancel_on_signal("SIGTERM")
    with pytest.raises(ValueError, match="12345"):
        cancel_on_signal(12345)


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.005, 0.01, 0.02, 0.05])
async def test_no_instance_stays_active_or_pending(delay):
    async with LocalPrefactor() as api:
        config = HttpClientConfig(api.url, api.deployment_token)
        async with PrefactorHttpClient(config) as client:

            async def agent():
                runs = client.agent_instances
                async with runs.run(**VERSIONS) as run, run.span("a"), run.span("b"):
                    await asyncio.sleep(30)

            async with cancel_on_signal(grace=10), asyncio.TaskGroup() as group:
                for _ in range(5):
                    group.create_task(agent())
                await asyncio.sleep(delay)
                term()
        statuses = {instance["status"] for instance in api.instances.values()}
    assert statuses <= {"failed", "cancelled"}


async def test_a_second_signal_and_the_end_of_the_grace_period_take_the_default_action(caplog):
    # By default, this signal is ignored.
    async with cancel_on_signal(signal.SIGWINCH, grace=0.01):
        for _ in range(2):
            signal.raise_signal(signal.SIGWINCH)
        assert signal.getsignal(signal.SIGWINCH) is signal.SIG_DFL
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
        await asyncio.sleep(0.1)
    assert "not ended within 0.01 s of SIGWINCH" in caplog.text


PROGRAM = """
import asyncio, logging, signal, sys
from prefactor_http.shutdown import cancel_on_signal

logging.basicConfig(level=logging.INFO)

async def main():
    async with cancel_on_signal(signal.SIGTERM, signal.SIGINT, grace=float(sys.argv[1])):
        print("ready", flush=True)
        while True:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                print("cancelled", flush=True)  # and goes on

if sys.argv[2] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_second_signal_ends_the_process_immediately(loop, name):
    number = signal.Signals[name]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "60", loop], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "cancelled\n"
        process.send_signal(number)
        assert process.wait(10) == -number


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_end_of_the_grace_period_ends_the_process(loop):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "0.2", loop],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        output, log = process.communicate(timeout=10)
    assert process.returncode == -signal.SIGTERM
    assert output == "cancelled\n"
    assert "SIGTERM: ending; a second one ends the process immediately" in log
    assert "not ended within 0.2 s of SIGTERM" in log


@pytest.fixture
def worker(prefactor_server, tmp_path):
    """Starts the example as a process."""
    environment = {
        **os.environ,
        "PREFACTOR_API_URL": prefactor_server.url,
        "PREFACTOR_API_TOKEN": prefactor_server.token,
        "PREFACTOR_AGENT_ID": prefactor_server.agent_id,
        "PREFACTOR_ENVIRONMENT_ID": prefactor_server.environment_id,
        "PYTHONPATH": str(WORKER.parents[1]),
    }

    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, "-W", "error", WORKER, *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def statuses_of(api):
    return {instance["status"] for instance in api.instances.values()}


def test_the_example_finishes_its_instances(prefactor_server, worker):
    with worker("--agents", "2", "--jobs", "2") as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output.splitlines()[-1]) == (0, "done"), errors
    assert [each["status"] for each in prefactor_server.instances.values()] == ["complete"] * 2
    spans = prefactor_server.spans.values()
    assert sorted(span["schema_name"] for span in spans) == ["job"] * 4 + ["llm_call"] * 8
    assert prefactor_server.violations == []


@pytest.mark.parametrize("moment", ["ready", "instances", "spans", "later"])
def test_the_example_leaves_no_instance_active_on_sigterm(prefactor_server, worker, moment):
    with worker("--agents", "5", "--jobs", "1000") as process:
        lines = {"ready": 1, "instances": 2, "spans": 6, "later": 6}[moment]
        for _ in range(lines):
            process.stdout.readline()
        if moment == "later":
            while len(prefactor_server.spans) < 30:
                assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert output.splitlines()[-1] == "stopped by SIGTERM"
    assert statuses_of(prefactor_server) <= {"failed", "cancelled"}
    if moment != "ready":
        assert "failed" in statuses_of(prefactor_server)
    assert "Traceback" not in errors
    assert textwrap.shorten(errors, 60).startswith("INFO:prefactor_http:SIGTERM")
