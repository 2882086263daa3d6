import os
import runpy
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import prefactor_http
from prefactor_http.cli import main

COMMAND = Path(sys.executable).with_name("prefactor-http")


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
    commands = "demo serve ping register start finish terminate show spans list"
    for name in commands.split():
        assert f"\n  {name} " in output
    assert "_PREFACTOR_HTTP_COMPLETE=bash_source" in output


def test_without_a_command_the_help_is_printed(run):
    result = run()
    assert (result.exit_code, result.stdout) == (2, "")
    assert "\n  terminate " in result.stderr


def test_the_package_runs_as_a_module(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["prefactor-http", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("prefactor_http", run_name="__main__")
    assert ended.value.code == 0
    assert f", version {prefactor_http.__version__}\n" in capsys.readouterr().out


def test_the_main_module_can_be_imported_without_running_the_command():
    runpy.run_module("prefactor_http.__main__", run_name="imported")


def test_as_a_module_without_the_extra_it_names_the_extra(tmp_path):
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError('no click', name='click')")
    done = subprocess.run(
        [sys.executable, "-m", "prefactor_http", "ping"],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "prefactor-http: click and rich are missing. Run: pip install 'prefactor-http[cli]'\n"
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion_script(run, monkeypatch, shell):
    monkeypatch.setenv("_PREFACTOR_HTTP_COMPLETE", f"{shell}_source")
    result = run()
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"_PREFACTOR_HTTP_COMPLETE={shell}_complete" in result.stdout
    assert "prefactor-http" in result.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("prefactor-http te", "plain,terminate\n"),
        ("prefactor-http list --li", "plain,--limit\n"),
        ("prefactor-http finish i1 --status ca", "plain,cancelled\n"),
    ],
)
def test_commands_options_and_values_are_completed(words, expected):
    variables = {
        "_PREFACTOR_HTTP_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    done = subprocess.run(
        [COMMAND], env=os.environ | variables, capture_output=True, text=True, check=True
    )
    assert done.stdout == expected
