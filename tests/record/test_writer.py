"""What the writer has put into its file, and when."""

from __future__ import annotations

import time
from pathlib import Path

from recorded_load import make_plain

from cachepawl.record.setup import setup_of
from cachepawl.record.wire import Start
from cachepawl.record.writer import Writer


def test_an_idle_writer_keeps_nothing_to_itself(tmp_path: Path) -> None:
    """However shortly before something else was flushed."""
    setup = setup_of(make_plain(), {}) | {"started": 0.0}
    writer = Writer(Start(str(tmp_path / "log"), b"salt", 1 << 40, 0.0, setup))
    writer.add([("touch", time.monotonic(), b"12345678", b"")])
    before = writer.path.read_text()
    assert "touch" not in before
    writer.add([])
    assert "touch" in writer.path.read_text()
    writer.close(complete=True)
