"""Options that commands share, and how a report leaves the program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from cachepawl.errors import InputError
from cachepawl.offline.document import Report
from cachepawl.offline.output import write_files
from cachepawl.offline.render import to_html, to_json, to_markdown

Function = TypeVar("Function", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)
"""A path that the reader of the file judges: its errors say more than click's."""


def format_option(*formats: str) -> Callable[[Function], Function]:
    """`--format`, of json, markdown and html those given; default markdown."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(formats or ("json", "markdown", "html")),
        default="markdown",
        show_default=True,
        help="How the report is printed.",
    )


def output_dir_option(function: Function) -> Function:
    """`--output-dir`: write every form of the report to files instead of printing it."""
    return click.option(
        "--output-dir",
        type=PATH,
        help="Write report.json, summary.md and report.html here instead of printing.",
    )(function)


def emit(report: Report, output_format: str, output_dir: Path | None = None) -> None:
    """Print the report, or write all its forms and print where.  OutputError on failure."""
    if output_dir is None:
        click.echo(rendered(report, output_format), nl=False)
        return
    texts = {
        "report.json": rendered(report, "json"),
        "summary.md": rendered(report, "markdown"),
        "report.html": rendered(report, "html"),
    }
    for path in write_files(output_dir, texts):
        click.echo(str(path))


def rendered(report: Report, output_format: str) -> str:
    """One form of the report."""
    if output_format == "json":
        return to_json(report.data)
    return {"markdown": to_markdown, "html": to_html}[output_format](report.document)


@contextmanager
def progress(label: str, total: float | None) -> Iterator[Callable[[float], None]]:
    """A bar on stderr while something long runs; call what is given with the work done since.

    Shows nothing where stderr is no terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(label, total=total)
        yield lambda amount: bar.advance(task, amount)


def positive(name: str, value: float | None, most: float = 1e15) -> None:
    """InputError unless the option's value is None or finite, above 0 and at most `most`."""
    if value is not None and not 0 < value <= most:
        raise InputError(f"{name} {value}: give a number above 0 and at most {most:g}")
