"""Mooncake's traces: `timestamp` in ms, `input_length`, `output_length`, `hash_ids`.

A block is 512 tokens; the ids cover the prompt, the last block may be partial.  An id
stands for the block and all before it, so equal ids mean equal prefixes.
Source: github.com/kvcache-ai/Mooncake, FAST25-release.
"""

from __future__ import annotations

from collections.abc import Iterator

from cachepawl.errors import InputError
from cachepawl.offline.traces import fields
from cachepawl.offline.traces.fields import Fields
from cachepawl.offline.traces.request import Record

BLOCK_TOKENS = 512
MARKS = ("timestamp", "input_length", "hash_ids")
"""Fields that tell the format."""


def records(value: Fields, line: int) -> Iterator[Record]:
    """The one request of a line.  InputError says what is wrong with it."""
    tokens = fields.tokens(value, "input_length", 1)
    blocks = fields.blocks(value, "input_length", BLOCK_TOKENS)
    if len(blocks) * BLOCK_TOKENS < tokens:
        raise InputError(f"hash_ids lacks the id of the last block of {tokens} tokens")
    yield Record(
        at=fields.seconds(value, "timestamp", per_second=1000),
        blocks=blocks,
        block_tokens=BLOCK_TOKENS,
        tokens=tokens,
        output=fields.tokens(value, "output_length"),
        conversation="",
    )
