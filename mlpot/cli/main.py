"""The program ``mlpot``: its commands, and how errors reach the user.

Nothing heavy is imported here or at the top of a command's module: commands import what they
need when they run, so that ``--help`` answers at once.
"""

from __future__ import annotations

import errno
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mlpot import __version__
from mlpot.cli import (
    active,
    calibrate,
    check,
    converge,
    convert,
    doctor,
    evaluate,
    fetch,
    generate,
    info,
    label,
    lattice,
    md,
    melt,
    observe,
    properties,
    report,
    stability,
    study,
    train,
    transfer,
)
from mlpot.cli.options import SeveralTemperatures
from mlpot.errors import MLPotError


class _Commands(TyperGroup):
    """Turns mistakes of the user into one line on standard error and exit status 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except MLPotError as error:
            _fail(str(error), getattr(error, "exit_status", 2))
        except KeyboardInterrupt:
            _fail("interrupted.", 130)
        except OSError as error:
            if error.filename is None or error.errno == errno.EPIPE:
                raise
            _fail(f"{error.filename}: {error.strerror}.", 2)


def _fail(message: str, status: int) -> None:
    print(f"mlpot: error: {message}", file=sys.stderr)
    raise typer.Exit(status)


def _version(asked: bool) -> None:
    if asked:
        print(f"mlpot {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Machine-learned interatomic potentials that transfer from one element to its neighbour."""


app.command("fetch", epilog=fetch.EXAMPLE)(fetch.fetch)
app.command("generate", epilog=generate.EXAMPLE)(generate.generate)
app.command("label", epilog=label.EXAMPLE)(label.label)
app.command("converge", epilog=converge.EXAMPLE)(converge.converge)
app.command("check", epilog=check.EXAMPLE)(check.check)
app.command("convert", epilog=convert.EXAMPLE)(convert.convert)
app.command("train", epilog=train.EXAMPLE)(train.train)
app.command("transfer", epilog=transfer.EXAMPLE)(transfer.transfer)
app.command("evaluate", epilog=evaluate.EXAMPLE)(evaluate.evaluate)
app.command("calibrate", epilog=calibrate.EXAMPLE)(calibrate.calibrate)
app.command("doctor", epilog=doctor.EXAMPLE)(doctor.doctor)
app.command("md", epilog=md.EXAMPLE)(md.md)
app.command("stability", epilog=stability.EXAMPLE, cls=SeveralTemperatures)(stability.stability)
app.command("properties", epilog=properties.EXAMPLE)(properties.properties)
app.command("report", epilog=report.EXAMPLE)(report.report)
app.command("observe", epilog=observe.EXAMPLE)(observe.observe)
app.command("melt", epilog=melt.EXAMPLE)(melt.melt)
app.command("info", epilog=info.EXAMPLE)(info.info)
app.command("study", epilog=study.EXAMPLE)(study.study)
app.command("active", epilog=active.EXAMPLE)(active.active)
app.add_typer(lattice.app, name="lattice")
app.command("demo", epilog=study.DEMO_EXAMPLE)(study.demo)
