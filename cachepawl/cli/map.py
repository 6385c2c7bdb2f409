"""`cachepawl map`."""

from __future__ import annotations

from pathlib import Path

import click

from cachepawl.cli.common import PATH, positive, progress, rendered
from cachepawl.errors import InputError
from cachepawl.observe.snapshot import MOST_CELLS, MOST_NODES
from cachepawl.offline.map.live import fetch_picture
from cachepawl.offline.map.picture import Picture, read_picture
from cachepawl.offline.map.recorded import picture_at
from cachepawl.offline.map.report import page_report, svg_text, text_report
from cachepawl.offline.output import write_files
from cachepawl.offline.recorded.first_look import is_recording

NODES, CELLS = 200, 1024


@click.command(
    "map",
    epilog="Example: cachepawl map --url http://127.0.0.1:30000 --format html > map.html",
)
@click.argument("source", type=PATH, required=False)
@click.option("--url", help="A server that was started with --cachepawl-map.")
@click.option(
    "--api-key",
    envvar="CACHEPAWL_API_KEY",
    help="The server's admin key, or its API key where it has no other.",
)
@click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait for the server.")
@click.option("--at", type=float, metavar="SECONDS", help="Of a recording: so long after it began.")
@click.option(
    "--at-operation", type=click.IntRange(0), help="Of a recording: after so many operations."
)
@click.option(
    "--nodes",
    type=click.IntRange(1, MOST_NODES),
    help=f"Entries of the tree at most; the rest is summed up.  [default: {NODES}]",
)
@click.option(
    "--cells",
    type=click.IntRange(1, MOST_CELLS),
    help=f"Cells of frames at most.  [default: {CELLS}]",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["markdown", "html", "svg", "json"]),
    default="markdown",
    show_default=True,
    help="How the map is printed; json can be read again.",
)
@click.option(
    "--output-dir",
    type=PATH,
    help="Write all forms here instead: report.json, summary.md, report.html, map.svg.",
)
def command(
    source: Path | None,
    url: str | None,
    api_key: str | None,
    timeout: float,
    at: float | None,
    at_operation: int | None,
    nodes: int | None,
    cells: int | None,
    output_format: str,
    output_dir: Path | None,
) -> None:
    """Draw a cache: the tree with its states and locks, and the arena's frames by owner.

    SOURCE is a recording of --cachepawl-trace, or a map that was saved with --format json.
    Large caches are summed up, not cut: what is drawn adds up to the whole.
    """
    if (source is None) == (url is None):
        raise click.UsageError("give either a file or --url.")
    limits = {"nodes": nodes or NODES, "cells": cells or CELLS}
    if source is not None and is_recording(source):
        picture, title = _of_recording(source, at, at_operation, **limits)
    else:
        _only_for_recordings(at, at_operation)
        if url is not None:
            positive("--timeout", timeout, 86400)
            picture, title = fetch_picture(url, api_key, timeout=timeout, **limits), f"Map of {url}"
        else:
            assert source is not None
            picture, title = _of_saved(source, nodes or cells), f"Map of {source.name}"
    if output_dir is None:
        click.echo(_shown(picture, title, output_format), nl=False)
        return
    names = {"report.json": "json", "summary.md": "markdown", "report.html": "html",
             "map.svg": "svg"}  # fmt: skip
    texts = {name: _shown(picture, title, form) for name, form in names.items()}
    for path in write_files(output_dir, texts):
        click.echo(str(path))


def _of_saved(source: Path, limit: int | None) -> Picture:
    if limit is not None:
        raise InputError("--nodes, --cells: a saved map is drawn as it was saved")
    return read_picture(source)


def _of_recording(
    source: Path, at: float | None, operation: int | None, *, nodes: int, cells: int
) -> tuple[Picture, str]:
    if at is not None and operation is not None:
        raise InputError("--at, --at-operation: name one point")
    if at is not None and not at >= 0:
        raise InputError(f"--at {at}: give seconds since the recording began, 0 or more")
    with progress("operations", None) as advance:
        picture, done = picture_at(
            source, seconds=at, operation=operation, nodes=nodes, cells=cells, advance=advance
        )
    return picture, f"Map of {source.name} after {done:,} operations"


def _only_for_recordings(at: float | None, operation: int | None) -> None:
    for name, value in (("--at", at), ("--at-operation", operation)):
        if value is not None:
            raise InputError(f"{name} {value}: only a recording has other points than the last")


def _shown(picture: Picture, title: str, form: str) -> str:
    if form == "svg":
        return svg_text(picture, title)
    make = page_report if form == "html" else text_report
    return rendered(make(picture, title), form)
