"""A headless Chromium, controlled through its DevTools protocol."""

import asyncio
import contextlib
import itertools
import json
import re
import shutil
import tempfile

import aiohttp

EXECUTABLE = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
_OPTIONS = (
    "--headless",
    "--no-sandbox",  # containers often forbid it; only pages of this repository are opened
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--remote-debugging-port=0",
)


class Browser:
    """One tab. Use it as ``async with Browser() as browser``.

    Attributes:
        problems: Errors that the page logged or raised, and requests that failed.
    """

    def __init__(self):
        self.problems = []
        self._ids = itertools.count(1)
        self._answers = {}
        self._loaded = asyncio.Event()
        self._resources = contextlib.AsyncExitStack()

    async def __aenter__(self):
        async with self._resources:
            await self._start()
            self._resources = self._resources.pop_all()
        return self

    async def _start(self):
        profile = self._resources.enter_context(
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        )
        process = await asyncio.create_subprocess_exec(
            EXECUTABLE,
            *_OPTIONS,
            f"--user-data-dir={profile}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self._resources.push_async_callback(process.wait)
        self._resources.callback(process.kill)
        while not (
            match := re.search(rb"ws://[\d.]+:(\d+)/", line := await process.stderr.readline())
        ):
            if not line:
                raise RuntimeError("Chromium does not start")
        port = int(match[1])
        session = await self._resources.enter_async_context(aiohttp.ClientSession())
        async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
            (tab,) = [each for each in await response.json() if each["type"] == "page"]
        self._socket = await session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0)
        reader = asyncio.create_task(self._read())
        self._resources.callback(reader.cancel)
        for domain in ("Page", "Runtime", "Log"):
            await self._send(f"{domain}.enable")

    async def __aexit__(self, *_):
        await self._resources.aclose()

    async def open(self, url, width, height=1200, *, dark=False):
        await self._send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self._send("Emulation.setEmulatedMedia", features=[scheme])
        self._loaded.clear()
        await self._send("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), 20)

    async def evaluate(self, script):
        """Run JavaScript in the page and return its value; a promise is awaited."""
        answer = await self._send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def _send(self, method, **parameters):
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        message = await asyncio.wait_for(answer, 20)
        assert "error" not in message, message
        return message["result"]

    async def _read(self):
        async for frame in self._socket:
            message = json.loads(frame.data)
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message)
            elif message["method"] == "Page.loadEventFired":
                self._loaded.set()
            elif message["method"] == "Runtime.exceptionThrown":
                self.problems.append(message["params"]["exceptionDetails"])
            elif message["method"] == "Log.entryAdded":
                self.problems.append(message["params"]["entry"])
