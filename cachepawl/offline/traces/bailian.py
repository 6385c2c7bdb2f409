"""Qwen-Bailian usage traces: as Mooncake's, in blocks of 16 tokens, with chats and turns.

`timestamp` is in seconds; `parent_chat_id` is the turn before, or -1.  The ids cover the
prompt; its last block may be partial.
Source: github.com/alibaba-edu/qwen-bailian-usagetraces-anon, README and docs.
"""

from __future__ import annotations

from collections.abc import Iterator

from cachepawl.offline.traces import fields
from cachepawl.offline.traces.fields import Fields
from cachepawl.offline.traces.request import Record, own_tail

BLOCK_TOKENS = 16
MARKS = ("chat_id", "parent_chat_id", "timestamp", "input_length", "hash_ids")
MOST_CHATS = 1 << 16
"""Whose first turn is remembered; a turn that follows an older one begins a conversation."""


class Reader:
    """Follows chats from turn to turn."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}

    def records(self, value: Fields, line: int) -> Iterator[Record]:
        """The one request of a line.  InputError says what is wrong with it."""
        chat = fields.integer(value, "chat_id", 0, fields.MOST_ID)
        parent = fields.integer(value, "parent_chat_id", -1, fields.MOST_ID)
        if "turn" in value:
            fields.integer(value, "turn", 0, fields.MOST_TOKENS)
        if "type" in value:
            fields.name(value, "type")
        blocks = fields.blocks(value, "input_length", BLOCK_TOKENS)
        tokens = fields.tokens(value, "input_length", 1)
        at = fields.seconds(value, "timestamp")
        output = fields.tokens(value, "output_length")
        yield Record(
            at=at,
            blocks=own_tail(blocks, BLOCK_TOKENS, tokens, line << 32),
            block_tokens=BLOCK_TOKENS,
            tokens=tokens,
            output=output,
            conversation=str(self._conversation(chat, parent)),
        )

    def _conversation(self, chat: int, parent: int) -> int:
        """The chat that the conversation began with."""
        first = chat if parent < 0 else self._first.get(parent, parent)
        self._first[chat] = first
        if len(self._first) > MOST_CHATS:
            del self._first[next(iter(self._first))]
        return first
