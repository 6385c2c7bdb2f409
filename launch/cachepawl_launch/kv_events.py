"""Our events in the shape that SGLang publishes."""

from __future__ import annotations

from array import array

from sglang.srt.disaggregation.kv_events import (
    AllBlocksCleared,
    BlockRemoved,
    BlockStored,
    KVCacheEvent,
    StorageMedium,
)
from sglang.srt.mem_cache.utils import hash_str_to_int64

from cachepawl.tree.events import Cleared, Event, Kind, Removed

MEDIUM: dict[Kind, str] = {
    "full": StorageMedium.GPU.value,
    "state": f"{StorageMedium.GPU.value}:state",
    "window": f"{StorageMedium.GPU.value}:window",
}
"""A consumer that knows KV only takes the other kinds for another tier, and is not misled."""


def published(events: list[Event], page_tokens: int) -> list[KVCacheEvent]:
    """SGLang's messages, one for each event, in order."""
    return [_message(event, page_tokens) for event in events]


def _message(event: Event, page_tokens: int) -> KVCacheEvent:
    if isinstance(event, Cleared):
        return AllBlocksCleared()
    hashes = [_number(digest) for digest in event.hashes]
    if isinstance(event, Removed):
        return BlockRemoved(block_hashes=hashes, medium=MEDIUM[event.kind])
    return BlockStored(
        block_hashes=hashes,
        parent_block_hash=None if event.parent is None else _number(event.parent),
        token_ids=array("q", event.tokens).tolist(),
        block_size=page_tokens,
        lora_id=None,
        medium=MEDIUM[event.kind],
    )


def _number(digest: bytes) -> int:
    return int(hash_str_to_int64(digest.hex()))
