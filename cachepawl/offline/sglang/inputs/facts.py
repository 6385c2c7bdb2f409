"""A value with its source, and all of them together.

Readers give `Reading`s; `Facts` puts them together.  The first reading that has a value is
believed; where a later one differs, the conflict is named.  Whoever asks for a value that
nobody gave gets `Missing`, which says what would give it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

Number = int | float


class Fact(NamedTuple):
    """A number, and the file and line, field or option that it is from."""

    value: Number
    source: str


class Reading(NamedTuple):
    """What one input says.

    `server_args` are arguments as SGLang resolved them, `command` the launch command.
    """

    source: str
    facts: Mapping[str, Fact]
    server_args: Mapping[str, object] | None = None
    command: str = ""
    version: str | None = None


class Conflict(NamedTuple):
    """Two inputs that differ about one value."""

    name: str
    kept: object
    kept_source: str
    other: object
    other_source: str


class Missing(Exception):  # noqa: N818 - caught where checks are run
    """A value that a check needs and nobody gave; the text says what would give it."""


class Quantity(NamedTuple):
    """What a value means, and which inputs give it."""

    title: str
    given_by: str


_POOLS = "--log, --server-info or --metrics of a running server, or --model with --gpu or --rest-gb"
_TRAFFIC = "--metrics of a server that has answered requests"
QUANTITIES = {
    "kv_tokens": Quantity("KV pool, tokens", _POOLS),
    "state_slots": Quantity("state pool, slots", _POOLS),
    "running_limit": Quantity("requests running at once, at most", _POOLS),
    "context_limit": Quantity(
        "longest request, tokens", "--context-length in the flags, --log or --server-info"
    ),
    "model_context": Quantity("longest request of the model, tokens", "--model with a config.json"),
    "page_tokens": Quantity("page, tokens", "--page-size in the flags, or --server-info"),
    "chunk_tokens": Quantity(
        "prefill chunk, tokens", "--chunked-prefill-size in the flags, --log or --server-info"
    ),
    "state_chunk": Quantity("chunk of the model's state kernels, tokens", "--model"),
    "kv_used": Quantity("KV in use by requests, tokens", "--metrics"),
    "kv_free": Quantity("KV free, tokens", "--metrics"),
    "kv_evictable": Quantity("KV cached and evictable, tokens", "--metrics"),
    "states_used": Quantity("states in use by requests", "--metrics"),
    "states_free": Quantity("states free", "--metrics"),
    "states_evictable": Quantity("states cached and evictable", "--metrics"),
    "token_usage": Quantity("sglang:token_usage", "--metrics"),
    "kv_usage": Quantity("KV usage in the log's last batch line", "--log"),
    "states_usage": Quantity("state usage in the log's last batch line", "--log"),
    "running": Quantity("requests running", "--metrics"),
    "queued": Quantity("requests waiting", "--metrics"),
    "host_kv_tokens": Quantity("host KV pool, tokens", "--log or --metrics with HiCache on"),
    "host_kv_used": Quantity("host KV in use, tokens", "--metrics with HiCache on"),
    "host_states": Quantity("host state pool, slots", "--log or --metrics with HiCache on"),
    "host_states_used": Quantity("host states in use", "--metrics with HiCache on"),
    "host_bytes": Quantity("memory of the host, bytes", "--host-memory-gb"),
    "typical_prompt": Quantity("typical prompt, tokens", f"--typical-prompt, or {_TRAFFIC}"),
    "typical_answer": Quantity("typical answer, tokens", f"--typical-answer, or {_TRAFFIC}"),
    "context": Quantity("tokens of a running request", "--context or --typical-prompt"),
    "concurrency": Quantity("requests wanted at once", "--concurrency"),
    "entry_bytes": Quantity("KV of a token, bytes", "--model"),
    "state_bytes": Quantity("a state, bytes", "--model"),
    "kv_copies": Quantity("ranks that keep the same KV", "--model"),
    "free_before": Quantity("device memory free before the load, GB", "--log"),
    "free_after": Quantity("device memory free after the load, GB", "--log"),
}


@dataclass(frozen=True)
class Facts:
    """Every value that is known, and where inputs differ."""

    values: Mapping[str, Fact] = field(default_factory=dict)
    conflicts: tuple[Conflict, ...] = ()

    def get(self, name: str) -> Number | None:
        """The value, or None."""
        fact = self.values.get(name)
        return None if fact is None else fact.value

    def need(self, name: str) -> Number:
        """The value; Missing when nobody gave it."""
        fact = self.values.get(name)
        if fact is None:
            quantity = QUANTITIES[name]
            raise Missing(f"{quantity.title} ({quantity.given_by})")
        return fact.value

    def with_default(self, name: str, fact: Fact) -> Facts:
        """These facts and one more, unless the value is known."""
        if name in self.values:
            return self
        return replace(self, values={**self.values, name: fact})

    def count(self, name: str) -> int:
        """The value as a whole number, rounded."""
        return round(self.need(name))


def gathered(readings: Sequence[Reading]) -> Facts:
    """All values; the first reading that has one wins, later different ones are conflicts."""
    values, conflicts = dict[str, Fact](), list[Conflict]()
    for reading in readings:
        for name, fact in reading.facts.items():
            kept = values.setdefault(name, fact)
            if kept.value != fact.value:
                conflicts.append(Conflict(name, *kept, *fact))
    return Facts(values, tuple(conflicts))
