"""What people and machines read: results on standard output, progress on standard error."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

#: Called with the fraction done (0 to 1) and what is going on.
Update = Callable[[float, str], None]


@contextmanager
def working() -> Iterator[None]:
    """Keep standard output for the result: what is printed meanwhile goes to standard error."""
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def progress_bar() -> Iterator[Update]:
    """Show a bar on standard error while at work, if someone is looking."""
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda fraction, text: bar.update(task, completed=fraction, description=text)


def is_watched() -> bool:
    """Return whether standard error is a terminal."""
    return sys.stderr.isatty()


def silence_lightning() -> None:
    """Keep Lightning's notes on devices and advice out of the way; call it after importing it."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def emit(document: Mapping[str, Any], as_json: bool, show: Callable[[Console], None]) -> None:
    """Print a result: the document as JSON, or what ``show`` makes of it for people."""
    if as_json:
        print(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        show(Console(highlight=False))


def line(console: Console, name: str, text: str) -> None:
    """Print a named fact; the text is printed as it is, never cut."""
    console.print(f"{name + ':':<12}", text, markup=False, soft_wrap=True)


def new_table(*columns: str, title: str | None = None) -> Table:
    """Return a table: the first column names, the others hold numbers."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=index > 0)
    return table


def error_table(rows: Mapping[str, Mapping[str, Any] | None], title: str) -> Table:
    """Return a table of :class:`~mlpot.training.errors.ErrorSummary` values by name."""
    from mlpot.training.errors import ERROR_COLUMNS, error_rows

    table = new_table(*ERROR_COLUMNS, title=title)
    for row in error_rows(rows):
        table.add_row(*row)
    table.caption = "mean absolute / root mean square errors"
    return table


def show_frames(console: Console, frames: Mapping[str, Any]) -> None:
    """Print how many frames, atoms and labels are on each side of a split."""
    for side, counts in frames.items():
        labels = ", ".join(f"{number} {label}" for label, number in counts["labels"].items())
        text = f"{counts['frames']} frames, {counts['atoms']} atoms; labels: {labels}"
        line(console, side, text if counts["frames"] else "none")


def show_offsets(console: Console, offsets: Mapping[str, Any]) -> None:
    """Print energy offsets and what they leave of the labels."""
    values = ", ".join(f"{symbol} {value:.4f}" for symbol, value in offsets["eV"].items())
    left = offsets["residual_eV_per_atom"]
    text = f"{values} eV" + ("" if left is None else f"; they leave {1e3 * left:.1f} meV/atom (RMS)")
    line(console, "offsets", text)


def show_notes(console: Console, notes: list[str]) -> None:
    """Print what a reader of the result must know."""
    for note in notes:
        line(console, "note", note)
