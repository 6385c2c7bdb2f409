"""`cachepawl info`."""

from __future__ import annotations

from pathlib import Path

import click

from cachepawl.cli.common import emit, format_option, output_dir_option
from cachepawl.offline.info import info_report


@click.command(
    "info",
    epilog="Example: cachepawl info --format json",
)
@format_option()
@output_dir_option
def command(output_format: str, output_dir: Path | None) -> None:
    """Versions of cachepawl and, where they are installed, of torch, triton and SGLang; devices."""
    emit(info_report(), output_format, output_dir)
