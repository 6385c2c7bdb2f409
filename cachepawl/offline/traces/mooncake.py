"""Mooncake's traces: `timestamp` in ms, `input_length`, `output_length`, `hash_ids`.

A block is 512 tokens; the ids cover the prompt, the last block may be partial.  An id
stands for the block and all before it, so equal ids mean equal prefixes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cachepawl.errors import InputError
from cachepawl.offline.traces import fields
from cachepawl.offline.traces.request import Record

BLOCK_TOKENS = 512


def records(value: dict[str, Any]) -> Iterator[Record]:
    """The one request of a line.  InputError says what is wrong with it."""
    tokens = fields.integer(value, "input_length", 1, fields.MOST_TOKENS)
    blocks = fields.ids(value, "hash_ids", 0, fields.MOST_ID)
    if len(blocks) != -(-tokens // BLOCK_TOKENS):
        raise InputError(
            f"hash_ids has {len(blocks)} blocks; input_length {tokens} takes "
            f"{-(-tokens // BLOCK_TOKENS)} of {BLOCK_TOKENS} tokens"
        )
    yield Record(
        at=fields.seconds(value, "timestamp", 1e-3),
        blocks=blocks,
        block_tokens=BLOCK_TOKENS,
        tokens=tokens,
        output=fields.integer(value, "output_length", 0, fields.MOST_TOKENS),
        conversation="",
    )
