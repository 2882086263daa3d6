"""The command and its subcommands; every way to end goes through here."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from prefactor_http._version import __version__
from prefactor_http.cli.demo.command import demo
from prefactor_http.cli.errors import CommandError, StoppedError
from prefactor_http.cli.exit_codes import ExitCode
from prefactor_http.cli.instances import finish, start, terminate
from prefactor_http.cli.list_instances import list_instances
from prefactor_http.cli.outbox.command import outbox
from prefactor_http.cli.output import Output, captured_output
from prefactor_http.cli.ping import ping
from prefactor_http.cli.register.command import register
from prefactor_http.cli.serve import serve
from prefactor_http.cli.show import show
from prefactor_http.cli.signals import Stopped, on_signals, raise_stopped
from prefactor_http.cli.spans import spans

_NAME = "prefactor-http"
_COMPLETE = "_PREFACTOR_HTTP_COMPLETE"  # set by the script that click writes for a shell


class _Command(click.Group):
    """Lists its subcommands in the order of their use, and never prints a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.commands)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        del standalone_mode, complete_var
        if _COMPLETE in os.environ:
            # Prints bytes for the shell, and exits.
            self._main_shell_completion(extra, _NAME, _COMPLETE)
        with captured_output() as output:
            # Before click parses: an error in another option is then reported as JSON, too.
            output.as_json = "--json" in (sys.argv if args is None else args)
            try:
                with on_signals(raise_stopped):
                    result = super().main(
                        args,
                        prog_name,
                        _COMPLETE,
                        standalone_mode=False,
                        windows_expand_args=windows_expand_args,
                        obj=output,
                        **extra,
                    )
                    code: int = result or 0
            except click.ClickException as exc:
                output.fail(exc)
                if isinstance(exc, click.UsageError) and exc.ctx is not None:
                    exc.ctx.close()  # click does not close the files of other options
                code = exc.code if isinstance(exc, CommandError) else exc.exit_code
            except (Stopped, click.Abort) as exc:  # while click was parsing
                code = getattr(exc.__cause__ or exc, "exit_code", 1)
            with on_signals(_exit_now):
                code = output.finish(code)
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Stopped as stopped:
            output: Output = ctx.obj
            further = ("Nothing was sent.",) if output.has_sent is False else ()
            raise StoppedError(stopped, f"interrupted by {stopped.name}.", *further) from None


def _exit_now(signum: int) -> NoReturn:
    os._exit(Stopped(signum).exit_code)


@click.group(
    cls=_Command,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, package_name=_NAME)
@click.pass_context
def command(context: click.Context) -> None:
    """Register, start, finish and inspect agent instances of the Prefactor API.

    Set PREFACTOR_API_URL and PREFACTOR_API_TOKEN to the address of the API and a token. `demo` and
    `serve` need neither: they run a local API. HTTPS_PROXY, HTTP_PROXY, NO_PROXY, SSL_CERT_FILE and
    SSL_CERT_DIR are respected.

    \b
    Shell completion, for this shell (the README shows how to keep it):
      bash  eval "$(_PREFACTOR_HTTP_COMPLETE=bash_source prefactor-http)"
      zsh   eval "$(_PREFACTOR_HTTP_COMPLETE=zsh_source prefactor-http)"
      fish  _PREFACTOR_HTTP_COMPLETE=fish_source prefactor-http | source

    \b
    Exit codes:
      0    done
      1    the API refused the call, or rows of the file
      2    wrong usage; nothing was sent
      3    outcome unknown, API unreachable, or stopped by
           SIGTERM or SIGHUP; the message says what to do
      4    --dry-run found rows that cannot be registered
      5    done, but the output could not be written
      130  interrupted by Ctrl-C
    """  # noqa: D301 # \b tells click not to wrap the lines
    # The package logs warnings. Without a handler, Python would print them among our messages.
    logging.getLogger("prefactor_http").addHandler(logging.NullHandler())
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(ExitCode.USAGE)


for _subcommand in (
    *(demo, serve, ping, register, start, finish, terminate),
    *(show, spans, list_instances, outbox),
):
    command.add_command(_subcommand)
