"""Write what was used again."""

from __future__ import annotations

from cachepawl.offload.writing.write_through import WriteThrough


class WriteThroughSelective(WriteThrough):
    """From the second use on."""

    def __init__(self) -> None:
        super().__init__(least=2)
        self.name = "write_through_selective"
