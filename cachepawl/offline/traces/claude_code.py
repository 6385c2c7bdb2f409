"""kv-cache-tester's recorded coding sessions: one conversation an object, blocks of 64 tokens.

A request has `t` (seconds since the conversation began), `in`, `out` and `hash_ids`; an
entry of type `subagent` nests requests of its own, timed from its own `t`.  Ids are local
to the conversation unless `hash_id_scope` is `global`.
Source: github.com/callanjfox/kv-cache-tester, docs/trace_replay_tester.md.

What two conversations have in common is not in a local file and has to be modelled: see
`Sharing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from cachepawl.errors import InputError
from cachepawl.offline.traces import fields
from cachepawl.offline.traces.fields import Fields
from cachepawl.offline.traces.request import Record, own_tail

BLOCK_TOKENS = 64
MARKS = ("block_size", "requests")
MOST_LOCAL_ID = (1 << 32) - 1
MOST_PREFIX = (1 << 20) - 1
"""Tokens of the tools and of the system prompt, each."""
MOST_NESTING = 8
"""Of subagents."""
_SHARED = 1 << 62
"""Marks ids of blocks that conversations share; local ids stay below."""


class Sharing(StrEnum):
    """Which first blocks conversations have in common."""

    NONE = "none"
    """None: every conversation stands alone."""
    TOOLS = "tools"
    """Tool definitions, when they take equally many tokens."""
    SYSTEM = "system"
    """Tools and system prompt, each when both take equally many tokens."""


class Reader:
    """Turns a conversation into requests, timed from its beginning."""

    def __init__(self, sharing: Sharing) -> None:
        self._sharing = sharing

    def records(self, value: Fields, line: int) -> Iterator[Record]:
        """The requests of one conversation by time.  InputError says what is wrong with it."""
        size = fields.integer(value, "block_size", 1, fields.MOST_TOKENS)
        if size != BLOCK_TOKENS:
            raise InputError(f"block_size is {size}; only {BLOCK_TOKENS} is known")
        scope = value.get("hash_id_scope", "local")
        if scope not in ("local", "global"):
            raise InputError(f"hash_id_scope is {fields.shown(scope)}; give local or global")
        name = fields.name(value, "id")
        found = [
            Record(
                at=at,
                blocks=request[1],
                block_tokens=BLOCK_TOKENS,
                tokens=request[0],
                output=request[2],
                conversation=name,
            )
            for at, request in self._agent(value, 0.0, 0, line if scope == "local" else 0)
        ]
        found.sort(key=lambda record: record.at)
        for number, record in enumerate(found):
            blocks = own_tail(list(record.blocks), BLOCK_TOKENS, record.tokens, line << 32 | number)
            yield record._replace(blocks=blocks)

    def _agent(
        self, agent: Fields, start: float, depth: int, scope: int
    ) -> Iterator[tuple[float, tuple[int, list[int], int]]]:
        """Time and `(tokens, blocks, answer)` of an agent's requests and of its subagents'.

        `scope` sets local ids apart: the conversation's number, 0 where ids are global.
        """
        if depth > MOST_NESTING:
            raise InputError(f"subagents are nested more than {MOST_NESTING} deep")
        prefix = _Prefix(agent, self._sharing, scope)
        for request in fields.objects(agent, "requests"):
            at = start + fields.seconds(request, "t")
            if fields.name(request, "type") == "subagent":
                yield from self._agent(request, at, depth + 1, scope)
                continue
            blocks = fields.blocks(request, "in", BLOCK_TOKENS, MOST_LOCAL_ID)
            tokens = fields.tokens(request, "in", 1)
            yield at, (tokens, prefix.shared(blocks, tokens), fields.tokens(request, "out"))


class _Prefix:
    """An agent's tools and system prompt: the first blocks of its first request that has both."""

    def __init__(self, agent: Fields, sharing: Sharing, scope: int) -> None:
        self.tools, self.system = (
            fields.integer(agent, name, 0, MOST_PREFIX) if name in agent else 0
            for name in ("tool_tokens", "system_tokens")
        )
        shares = {Sharing.NONE: 0, Sharing.TOOLS: self.tools}.get(sharing, self.tools + self.system)
        self.count = shares // BLOCK_TOKENS if scope else 0
        self.scope = scope
        self.chain: list[int] | None = None

    def shared(self, blocks: list[int], tokens: int) -> list[int]:
        """A request's ids for the whole trace."""
        if self.chain is None and tokens >= self.tools + self.system:
            self.chain = blocks[: self.count]
        same = 0
        for a, b in zip(self.chain or (), blocks, strict=False):
            if a != b:
                break
            same += 1
        own = self.scope << 32
        return [self._shared_id(i) for i in range(same)] + [own | i for i in blocks[same:]]

    def _shared_id(self, index: int) -> int:
        """Of a block that every conversation with such a prefix has at this place."""
        in_tools = (index + 1) * BLOCK_TOKENS <= self.tools
        system = 0 if in_tools else self.system + 1
        return _SHARED | (self.tools << 36 | system << 15 | index)
