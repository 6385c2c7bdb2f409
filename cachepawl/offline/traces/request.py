"""What every trace becomes: requests in the order of their time."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from sys import byteorder
from typing import NamedTuple

from cachepawl.types import TOKEN_BYTES, Key


class TraceRequest(NamedTuple):
    """One request to a server."""

    at: float
    """Seconds since the trace's first request; never decreases from one to the next."""
    key: Key
    """The prompt.  Where a trace knows blocks only, every token of a block is the block's id."""
    output: int
    """Tokens of the answer."""
    conversation: str
    """What turns of one conversation have in common; empty where the trace does not say."""


class Skipped:
    """Bad lines of the latest reading."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []
        """What was wrong with the first few, each with its place."""


class Record(NamedTuple):
    """A request as its file has it: small, so that many may wait for their turn."""

    at: float
    """Seconds on the file's own clock."""
    blocks: Sequence[int]
    """Ids of the blocks that the prompt consists of; 64-bit signed."""
    block_tokens: int
    tokens: int
    """Of the prompt: covered by the blocks, the last of which may be partial."""
    output: int
    conversation: str


def key_of(record: Record) -> Key:
    """The prompt's key: each block's id, `block_tokens` times; cut to the prompt's tokens."""
    if record.block_tokens == 1:
        return Key(array("q", record.blocks).tobytes())
    size = record.block_tokens
    whole = [i.to_bytes(TOKEN_BYTES, byteorder, signed=True) * size for i in record.blocks]
    excess = len(whole) * size - record.tokens
    if excess > 0:
        whole[-1] = whole[-1][: (size - excess) * TOKEN_BYTES]
    return Key(b"".join(whole))


def own_tail(blocks: list[int], block_tokens: int, tokens: int, number: int) -> list[int]:
    """The blocks, and an id of its own for a partial last block that has none.

    `number` is another one, at least 0, for every request of the trace.
    """
    return [*blocks, -number - 1] if len(blocks) * block_tokens < tokens else blocks
