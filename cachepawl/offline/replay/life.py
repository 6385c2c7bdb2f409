"""One request in the cache: the calls that a server makes for it, in its order.

    prefill   chunk by chunk: pages, then KV and a state to the tree where there is a snapshot
    decode    pages for the answer
    end       all is given back; published answers stay

Depths and lengths are tokens.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator

from cachepawl.cache import HybridPrefixCache, Published
from cachepawl.offline.replay.keeping import keeping_of
from cachepawl.offline.replay.ways import Way
from cachepawl.tree import Lock
from cachepawl.types import TOKEN_BYTES, Key


class Life:
    """An admitted request.  `lock` is its receipt for the `usable` tokens it starts on."""

    def __init__(
        self,
        cache: HybridPrefixCache,
        way: Way,
        row: int,
        key: Key,
        answer: int,
        lock: Lock,
        usable: int,
    ) -> None:
        """Takes its states and opens its row.  `answer`: tokens beyond the prompt that get KV."""
        self.cache = cache
        self.way = way
        self.keeping = keeping_of(cache, way)
        self.row = row
        self.key = key
        self.prompt = len(key.tokens) // TOKEN_BYTES
        self.answer = answer
        self.lock = lock
        self.published = usable
        self.length = usable
        """Tokens that have pages."""
        self.steps = 0
        self.published_to: Callable[[Published], None] | None = None
        """Who is told of what is published."""
        self.slots = list(cache.take_states(way.slots)) if way.slots else []
        cache.open_row(row, lock.node, usable)

    @property
    def owed(self) -> int:
        """Tokens of whole pages that are still to be allocated."""
        pages = self.cache.geometry.pages_of
        page = self.cache.geometry.page_tokens
        return (pages(self.prompt + self.answer) - pages(self.length)) * page

    def prefill(self, chunk: int, branch: int | None) -> None:
        """Compute the prompt in chunks of at most `chunk` tokens."""
        at = self.length
        for stop in self._stops(chunk, branch):
            self.cache.allocate(self.row, stop)
            self.length = stop
            depth = self.way.snapshot(at, stop, branch)
            if depth > self.published:
                self._checkpoint(depth)
            at = stop

    def _stops(self, chunk: int, branch: int | None) -> Iterator[int]:
        """Depths where the chunks end."""
        plan, at, prompt = self.way.plan, self.length, self.prompt
        if prompt - at <= chunk:
            stop = plan.first_stop(prompt, at, branch)
            if stop is not None:
                yield at + stop
        else:
            while prompt - at > chunk:
                at += plan.chunk(chunk) or chunk
                yield at
        yield prompt

    def _checkpoint(self, depth: int) -> None:
        """KV up to `depth` to the tree, and a state of it unless the tree has one."""
        cache = self.cache
        slot = None
        if self.way.slots and cache.tree.peek(self.key, depth).usable_len != depth:
            slot = self.keeping.of_running(self.slots)
            if slot is None:
                cache.counters.checkpoints_skipped += 1
                cache.note_locked_out(self.key, depth)
                return
        done = cache.publish(self.row, self.key, depth, slot)
        assert slot is None or done.state_taken, "no state was there a moment ago"
        self._tell(done)
        held = cache.lock_path(done.node)
        cache.unlock(self.lock)
        self.lock = held
        self.published = depth

    def decode_to(self, tokens: int) -> None:
        """The answer is `tokens` long now."""
        self.length = self.prompt + tokens
        self.cache.allocate(self.row, self.length)

    def publish_answer(self, tokens: array[int]) -> None:
        """The finished request leaves its answer, as deep as its newest snapshot."""
        depth = self.way.end(self.prompt, self.length)
        if depth <= max(self.prompt, self.published):
            return
        key = Key(self.key.tokens + tokens.tobytes(), self.key.namespace)
        state = self.keeping.of_finished(self.slots) if self.slots else None
        if self.slots and state is None:
            self.cache.counters.checkpoints_skipped += 1
            return
        done = self.cache.publish(self.row, key, depth, state)
        if self.slots:
            self.keeping.published(self.slots, state, done.state_taken)
        self._tell(done)
        held = self.cache.lock_path(done.node)
        self.cache.unlock(self.lock)
        self.lock = held
        self.published = depth

    def _tell(self, done: Published) -> None:
        if self.published_to is not None:
            self.published_to(done)

    def end(self) -> None:
        """Give everything back."""
        cache = self.cache
        cache.free_states(self.slots)
        cache.release(self.row, self.published, self.length)
        cache.unlock(self.lock)
        cache.close_row(self.row)
