"""The command: its subcommands, and how each of them ends."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from prefactor_http._version import __version__
from prefactor_http.cli.demo.command import demo
from prefactor_http.cli.errors import Interrupted, Problem
from prefactor_http.cli.instances import finish, show, start
from prefactor_http.cli.output import Output, captured_output
from prefactor_http.cli.ping import ping
from prefactor_http.cli.register.command import register
from prefactor_http.cli.serve import serve
from prefactor_http.cli.signals import Stopped, on_signals, raise_stopped


class _Command(click.Group):
    """Lists its commands in the order in which they are needed, and ends without tracebacks."""

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
        """Run the command and exit.

        Args:
            args: The arguments; by default those of the process.
            prog_name: Name of the command in messages.
            complete_var: As of click.
            standalone_mode: As of click, but always true.
            windows_expand_args: As of click.
            extra: As of click.
        """
        del standalone_mode
        with captured_output() as output:
            # Before the option is read: whatever is wrong with the others is reported as asked.
            output.as_json = "--json" in (sys.argv if args is None else args)
            try:
                with on_signals(raise_stopped):
                    result = super().main(
                        args,
                        prog_name,
                        complete_var,
                        standalone_mode=False,
                        windows_expand_args=windows_expand_args,
                        obj=output,
                        **extra,
                    )
                    code: int = result or 0
            except click.ClickException as exc:
                output.fail(exc)
                if isinstance(exc, click.UsageError) and exc.ctx is not None:
                    exc.ctx.close()  # click leaves open what earlier options have opened
                code = exc.code if isinstance(exc, Problem) else exc.exit_code
            except (Stopped, click.Abort) as exc:  # while the arguments were read
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
            raise Interrupted(stopped, f"interrupted by {stopped.name}.", *further) from None


def _exit_now(signum: int) -> NoReturn:
    os._exit(Stopped(signum).exit_code)


@click.group(
    cls=_Command,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, package_name="prefactor-http")
def command() -> None:
    """Register, start and finish agent instances of the Prefactor API, safely.

    The API's address and token come from PREFACTOR_API_URL and PREFACTOR_API_TOKEN. `demo` and
    `serve` need neither: they bring an API of their own. HTTPS_PROXY, HTTP_PROXY, NO_PROXY,
    SSL_CERT_FILE and SSL_CERT_DIR are honoured.

    \b
    Exit codes:
      0    done
      1    refused by the API, or rows of the file were refused
      2    wrong usage; nothing was sent
      3    outcome unknown, API away, or ended by SIGTERM or SIGHUP;
           the message says how to go on
      4    --dry-run found rows that cannot be registered
      5    done, but the output could not be written
      130  interrupted by Ctrl-C
    """  # noqa: D301 # click's mark for lines that are not wrapped
    # The package warns through logging, too; unconfigured, that would end up among our errors.
    logging.getLogger("prefactor_http").addHandler(logging.NullHandler())


for _subcommand in (demo, serve, ping, register, start, finish, show):
    command.add_command(_subcommand)
