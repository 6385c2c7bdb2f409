"""`cachepawl info`."""

from __future__ import annotations

import click

from cachepawl.cli.common import emit, format_option
from cachepawl.offline.info import info_report


@click.command(
    "info",
    epilog="Example: cachepawl info --format json",
)
@format_option("json", "markdown")
def command(output_format: str) -> None:
    """Versions of cachepawl and, where they are installed, of torch, triton and SGLang; devices."""
    emit(info_report(), output_format)
