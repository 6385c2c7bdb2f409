"""How records travel to the writer: frames of `marshal` data over a pipe, length first.

Both ends are the same Python, and nobody else writes to the pipe.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

LENGTH_BYTES = 8


class Start(NamedTuple):
    """The first frame: what the writer has to know."""

    path: str
    salt: bytes
    part_bytes: int
    """Bytes of a file after which the next one is begun."""
    clock: float
    """`time.monotonic()` of the recording's start."""
    setup: dict[str, Any]


CLOSE = None
"""The last frame of a recording that is closed."""


def pack(value: Any) -> bytes:
    """One frame."""
    data = marshal.dumps(value)
    return len(data).to_bytes(LENGTH_BYTES, "little") + data


def frames(stream: BinaryIO) -> Iterator[Any]:
    """The frames of a stream until it ends; a frame that was cut off is dropped."""
    while len(head := stream.read(LENGTH_BYTES)) == LENGTH_BYTES:
        length = int.from_bytes(head, "little")
        data = stream.read(length)
        if len(data) < length:
            return
        yield marshal.loads(data)
