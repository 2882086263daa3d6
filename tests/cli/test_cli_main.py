import os
import socket
import sys
import threading
import time

import pytest

from prefactor_http.cli import main


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_the_command_prints_what_to_install(monkeypatch, capsys, missing):
    for name in [name for name in sys.modules if name.startswith("prefactor_http.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "prefactor-http: click and rich are missing. Run: pip install 'prefactor-http[cli]'\n"
    )


def test_another_missing_module_is_not_mistaken_for_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "prefactor_http.cli.command", raising=False)
    monkeypatch.setitem(sys.modules, "prefactor_http.cli.ping", None)
    with pytest.raises(ModuleNotFoundError, match="ping"):
        main()


@pytest.mark.parametrize("has_streams", [True, False])
def test_a_lookup_that_hangs_does_not_delay_the_exit(monkeypatch, capsys, has_streams):
    release, left = threading.Event(), []

    def lookup(*_, **__):
        release.wait(60)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(os, "_exit", left.append)
    monkeypatch.setenv("PREFACTOR_API_TOKEN", "token-of-mine")
    arguments = ["show", "i1", "--api-url", "https://hanging.invalid", "--deadline", "0.3"]
    monkeypatch.setattr(sys, "argv", ["prefactor-http", *arguments])
    if not has_streams:
        monkeypatch.setattr(sys, "stdout", None)
    started = time.monotonic()
    try:
        with pytest.raises(SystemExit):
            main()
    finally:
        release.set()
        for thread in threading.enumerate():
            if thread.name.startswith("prefactor-http-lookup"):
                thread.join()
    assert time.monotonic() - started < 5
    assert left == [3]
    assert "deadline of 0.3 s exceeded" in capsys.readouterr().err


def test_help_names_every_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["prefactor-http", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    output = capsys.readouterr().out
    for name in ("demo", "serve", "ping", "register", "start", "finish", "show"):
        assert f"\n  {name} " in output
