"""A cache that says what is done to it.

It is the cache it was made from, under another class: both share one set of attributes, so
there is one truth and nothing to forward.  The calls that a verb makes on itself run in the
plain class and are recorded once, as the verb they belong to.  A cache that is not recorded
has none of this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from cachepawl.cache import HybridPrefixCache, Published
from cachepawl.errors import OutOfPages
from cachepawl.evacuation import Admission
from cachepawl.policy.base import Facts
from cachepawl.tree import Lock, Match, Miss, Node
from cachepawl.types import Key, Runs

Record = tuple[object, ...]
"""Verb, time in seconds, fields; a key is two of them, token ids and namespace.  Only what
`marshal` knows, and nothing that anybody changes later."""
Put = Callable[[Record], None]


class RecordingCache(HybridPrefixCache):
    """The same cache; `put` gets a record of every call that changed it.

    A call that raises changed nothing and is not recorded, but for those that raise
    OutOfPages, which may have evicted before.
    """

    def __init__(self, plain: HybridPrefixCache, put: Put) -> None:
        self.__dict__ = plain.__dict__  # one state under two classes
        self._plain = plain
        self._put = put
        self._receipts: dict[Lock, int] = {}
        self._next_receipt = 0

    # -- reading ------------------------------------------------------------------

    def match(self, key: Key, limit: int | None = None) -> Match:
        found = self._plain.match(key, limit)
        kv, usable, node, _ = found
        self._put(("match", monotonic(), *key, limit, kv, usable, node.serial))
        return found

    def touch(self, key: Key) -> None:
        self._plain.touch(key)
        self._put(("touch", monotonic(), *key))

    def lock(self, node: Node) -> Lock:
        receipt = self._plain.lock(node)
        self._put(("lock", monotonic(), node.serial, self._number(receipt)))
        return receipt

    def lock_path(self, node: Node) -> Lock:
        receipt = self._plain.lock_path(node)
        self._put(("lock_path", monotonic(), node.serial, self._number(receipt)))
        return receipt

    def _number(self, receipt: Lock) -> int:
        number = self._receipts[receipt] = self._next_receipt
        self._next_receipt = number + 1
        return number

    def unlock(self, receipt: Lock) -> None:
        self._plain.unlock(receipt)
        self._put(("unlock", monotonic(), self._receipts.pop(receipt)))

    # -- room ---------------------------------------------------------------------

    def make_room_for_pages(self, pages: int) -> bool:
        done = self._plain.make_room_for_pages(pages)
        self._put(("make_room_for_pages", monotonic(), pages, done))
        return done

    def make_room_for_states(self, states: int) -> bool:
        done = self._plain.make_room_for_states(states)
        self._put(("make_room_for_states", monotonic(), states, done))
        return done

    def make_way(self, tokens: int, states: int) -> Admission:
        way = self._plain.make_way(tokens, states)
        self._put(("make_way", monotonic(), tokens, states, way.name))
        return way

    def evict_tokens(self, tokens: int) -> int:
        gone = self._plain.evict_tokens(tokens)
        self._put(("evict_tokens", monotonic(), tokens, gone))
        return gone

    def evict_states(self, states: int) -> int:
        gone = self._plain.evict_states(states)
        self._put(("evict_states", monotonic(), states, gone))
        return gone

    # -- rows ----------------------------------------------------------------------

    def begin(self, row: int, key: Key, at: int, recalled: Facts | None = None) -> Facts:
        facts = self._plain.begin(row, key, at, recalled)
        self._put(("begin", monotonic(), *key, row, at, facts))
        return facts

    def open_row(self, row: int, node: Node, tokens: int) -> None:
        self._plain.open_row(row, node, tokens)
        self._put(("open_row", monotonic(), row, node.serial, tokens))

    def allocate(self, row: int, tokens: int) -> Runs:
        try:
            got = self._plain.allocate(row, tokens)
        except OutOfPages:
            self._put(("allocate", monotonic(), row, tokens, None))
            raise
        flat = tuple(number for run in got.runs for number in run)
        self._put(("allocate", monotonic(), row, tokens, flat))
        return got

    def next_pages(self, rows: list[int]) -> list[int]:
        asked = tuple(rows)
        try:
            pages = self._plain.next_pages(rows)
        except OutOfPages:
            self._put(("next_pages", monotonic(), asked, None))
            raise
        self._put(("next_pages", monotonic(), asked, sum(pages)))
        return pages

    def publish(self, row: int, key: Key, depth: int, state: int | None) -> Published:
        done = self._plain.publish(row, key, depth, state)
        node, replaced, taken = done
        what = (row, depth, state, node.serial, replaced, taken)
        self._put(("publish", monotonic(), *key, *what))
        return done

    def note_locked_out(self, key: Key, depth: int) -> None:
        self._plain.note_locked_out(key, depth)
        self._put(("note_locked_out", monotonic(), *key, depth))

    def release(self, row: int, start: int, stop: int) -> None:
        self._plain.release(row, start, stop)
        self._put(("release", monotonic(), row, start, stop))

    def close_row(self, row: int) -> None:
        self._plain.close_row(row)
        self._put(("close_row", monotonic(), row))

    # -- states ----------------------------------------------------------------------

    def take_states(self, count: int) -> tuple[int, ...]:
        try:
            slots = self._plain.take_states(count)
        except OutOfPages:
            self._put(("take_states", monotonic(), count, None))
            raise
        self._put(("take_states", monotonic(), count, slots))
        return slots

    def try_states(self, count: int) -> tuple[int, ...] | None:
        slots = self._plain.try_states(count)
        self._put(("try_states", monotonic(), count, slots))
        return slots

    def free_states(self, slots: tuple[int, ...] | list[int]) -> None:
        self._plain.free_states(slots)
        self._put(("free_states", monotonic(), tuple(slots)))

    # -- checkpoints -----------------------------------------------------------------

    def try_checkpoint(self) -> int | None:
        got = self._plain.try_checkpoint()
        self._put(("try_checkpoint", monotonic(), got))
        return got

    def drop_checkpoint(self, checkpoint: int) -> None:
        self._plain.drop_checkpoint(checkpoint)
        self._put(("drop_checkpoint", monotonic(), checkpoint))

    # -- the whole -------------------------------------------------------------------

    def reset(self) -> None:
        self._plain.reset()
        self._put(("reset", monotonic(), self.tree.serial))

    # -- what the calls were for -------------------------------------------------------

    def note_asked(
        self, name: str, prompt: int, usable: int, branch: int | None, missed: Sequence[Miss]
    ) -> None:
        """The match just made was for the request of this name."""
        why = tuple((m.reason.value, m.tokens, m.upto, m.age, m.by) for m in missed)
        self._put(("asked", monotonic(), name, prompt, usable, branch, why))

    def note_ended(self, name: str, row: int, cached: int, answered: int, how: str) -> None:
        """A request gives its row back; `cached` tokens by the server's own count."""
        self._put(("ended", monotonic(), name, row, cached, answered, how))
        self._put(("sizes", monotonic(), sizes_of(self)))


def sizes_of(cache: HybridPrefixCache) -> tuple[int, ...]:
    """What two caches in the same state agree on, in numbers; O(1)."""
    frames, tree = cache.frames, cache.tree
    return (
        frames.free_frames,
        frames.kv_pages,
        frames.kv_frames,
        frames.states,
        frames.pinned_pages,
        tree.num_nodes,
        tree.full_evictable,
        tree.full_protected,
        tree.state_evictable,
        tree.state_protected,
        len(cache.refs.rows),
    )


SIZES = (
    "free frames", "pages in use", "frames of KV", "states in use", "pinned pages", "nodes",
    "evictable tokens", "protected tokens", "evictable states", "protected states", "rows",
)  # fmt: skip
