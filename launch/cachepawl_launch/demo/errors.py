"""What ends the demo early."""

from __future__ import annotations


class DemoError(Exception):
    """The text is for a person; `code` is the exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code
