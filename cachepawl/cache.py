"""`HybridPrefixCache`: the tree, the frames and a policy, composed.  No torch.

It decides; it touches no tensor.  Whoever drives it (the SGLang adapter, a replay)
turns page ids into device indices and copies states.

    match -> lock -> open_row -> allocate -> publish -> release -> close_row -> unlock

Rows are the caller's small integers, one a running request.  Depths and lengths
are tokens.  Every verb costs what it touches, never the size of the cache.
"""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.errors import ArgumentError, InvariantError, LockError, OutOfPages
from cachepawl.evacuation import Admission, Carry, Evacuator, nothing_to_carry
from cachepawl.observe.counters import CacheCounters
from cachepawl.policy.base import EvictionPolicy, Facts, Kind, Victim, evict
from cachepawl.policy.lru import LRU
from cachepawl.pool.frames import UNLIMITED, FrameAllocator
from cachepawl.pool.geometry import Geometry
from cachepawl.pool.references import PageReferences
from cachepawl.stores import CheckpointStore, make_store
from cachepawl.tree import Lock, Match, Node, RadixTree
from cachepawl.tree.ghosts import GHOST_TOKENS
from cachepawl.types import Key, Runs

MAX_RESERVE = 64
"""Pages kept behind a row's last run at most; a row keeps as many as it holds."""


class Published(NamedTuple):
    """What `publish` did."""

    node: Node
    """The node the key ends on; unlocked."""
    replaced: bool
    """The row's pages changed: its device row has to be rewritten."""
    state_taken: bool
    """The tree owns the state; otherwise it is still the caller's."""


class HybridPrefixCache:
    """A prefix cache over one arena.

    `page_cap` and `state_cap` limit the pages and state slots in use at once.
    `states_per_request` is how many slots a running request takes.  `ghost_tokens`: how much
    of what was evicted is remembered, for miss reasons.
    """

    def __init__(
        self,
        geometry: Geometry,
        *,
        states_per_request: int,
        policy: EvictionPolicy = LRU,
        page_cap: int = UNLIMITED,
        state_cap: int = UNLIMITED,
        ghost_tokens: int = GHOST_TOKENS,
    ) -> None:
        self.geometry = geometry
        self.states_per_request = states_per_request
        self.policy = policy
        self.frames = FrameAllocator(
            geometry.num_frames,
            geometry.pages_per_frame,
            page_cap=page_cap,
            state_cap=state_cap,
        )
        self.refs = PageReferences(self.frames)
        self.tree = RadixTree(
            geometry.page_tokens,
            has_states=geometry.state is not None,
            ghost_tokens=ghost_tokens,
        )
        self.store, self.checkpoints = make_store(
            self.frames, self.tree, geometry.checkpoints_per_frame
        )
        """Where the tree's states lie; `checkpoints` is the same if they are compressed."""
        frame = geometry.frame_bytes
        policy.serve(
            self.tree,
            frame / (geometry.pages_per_frame * geometry.page_tokens),
            frame / max(1, geometry.checkpoints_per_frame),
        )
        self.counters = CacheCounters()
        self.row_states = 0
        self.carry: Carry = nothing_to_carry
        """Copies pages that `make_way` moves, and rewrites mirrors of their ids."""

    # -- reading ------------------------------------------------------------------

    def match(self, key: Key, limit: int | None = None) -> Match:
        """What of the key is cached.  Changes recency only.

        `limit` caps the usable length (the last token of a prompt is always computed).
        """
        return self.tree.match(key, limit)

    def touch(self, key: Key) -> None:
        """Make the KV on a key's path the newest; states stay as they are."""
        self.tree.touch(key)

    def lock(self, node: Node) -> Lock:
        """Keep the path's KV and the node's state until `unlock`."""
        receipt, pinned = self.tree.lock(node)
        self.refs.pin(pinned)
        return receipt

    def lock_path(self, node: Node) -> Lock:
        """Keep the path's KV alone; the node's state may go."""
        receipt, pinned = self.tree.lock_path(node)
        self.refs.pin(pinned)
        return receipt

    def unlock(self, receipt: Lock) -> None:
        """Spend a receipt; a second time raises LockError."""
        node = receipt.node
        self.refs.unpin(self.tree.unlock(receipt))
        self.policy.unlocked(self.tree, node)

    def unlock_unused(self, receipt: Lock) -> None:
        """As `unlock`, for who only kept it from eviction: its place among the rest stays."""
        node = receipt.node
        self.refs.unpin(self.tree.unlock_unused(receipt))
        self.policy.unlocked(self.tree, node)

    # -- room ---------------------------------------------------------------------

    def fits(self, tokens: int, states: int) -> bool:
        """Whether `tokens` and `states` could be had now, by eviction if need be.

        Counts whole frames, so a True can be acted upon.
        """
        pages = self.geometry.pages_of(tokens)
        return self.frames.fits(pages, states, self.store.evictable_frames())

    def make_way(self, tokens: int, states: int) -> Admission:
        """Move pinned pages together until `fits` holds, if it can hold; one burst a call.

            OPEN    `fits` holds; pages were moved only if it did not before
            SOON    a burst was not enough, or everything movable is in a transfer's hands
            CLOSED  it cannot hold, and nothing was changed

        At the same request and with nothing else pinned meanwhile, every SOON brings it nearer
        by a frame at least.  Call it where no page is handed out for a forward that is not under
        way yet: whoever carries the bytes cannot know of it.
        """
        if self.fits(tokens, states):
            return Admission.OPEN
        pages, evictable = self.geometry.pages_of(tokens), self.store.evictable_frames()
        if not self.frames.fits_packed(pages, states, evictable):
            return Admission.CLOSED
        evacuator = Evacuator(self.tree, self.refs, self._evict_pages, MAX_RESERVE, self.carry)
        moved = evacuator.burst(self.frames.frames_to_unpin(states, evictable))
        if not moved:
            self.counters.evacuations_refused += 1
            return Admission.SOON
        self.counters.evacuations += 1
        self.counters.evacuated_pages += moved
        self.counters.largest_evacuation = max(self.counters.largest_evacuation, moved)
        return Admission.OPEN if self.fits(tokens, states) else Admission.SOON

    def _evict_pages(self, pages: int) -> int:
        return self.evict_tokens(pages * self.geometry.page_tokens) // self.geometry.page_tokens

    def obtainable_tokens(self) -> int:
        """Tokens of KV that could be had now, by eviction if need be."""
        pages = self.frames.obtainable_pages(self.store.evictable_frames())
        return pages * self.geometry.page_tokens

    def room_for_one_request(self) -> int:
        """Tokens that a single request can hold in an otherwise empty arena."""
        frames = self.geometry.usable_frames - self.states_per_request
        pages = min(frames * self.geometry.pages_per_frame, self.frames.page_cap)
        return pages * self.geometry.page_tokens

    def answer_limit(self, prompt: int) -> int | None:
        """Tokens of the longest answer to a prompt in an empty arena; None if it does not fit.

        A request is admitted if its prompt, its answer and one page lie strictly below
        what remains, so that much is kept free.
        """
        page = self.geometry.page_tokens
        room = self.room_for_one_request() - self.geometry.pages_of(prompt) * page
        return None if room < 2 * page else room - page - 1

    def make_room_for_pages(self, pages: int) -> bool:
        """Evict until `pages` are available; False, and nothing evicted, if they can't be.

        ArgumentError for a negative number.
        """
        _require_budget(pages, "pages")
        frames = self.frames
        if frames.obtainable_pages(self.store.evictable_frames()) < pages:
            return False
        while frames.available_pages < pages:
            capped = frames.page_cap - frames.kv_pages < pages
            if not capped and self.store.pack():
                continue
            if not self._evict_next("kv" if capped else None):
                return False
        return True

    def make_room_for_states(self, states: int) -> bool:
        """Evict until so many slots are available; False, and nothing evicted, if they can't be.

        ArgumentError for a negative number.
        """
        _require_budget(states, "states")
        frames = self.frames
        if not frames.fits(0, states, self.store.evictable_frames()):
            return False
        while frames.available_states < states:
            if self.store.pack():
                continue
            # Only a state frees a frame when every KV frame has a pinned page.
            useless_kv = frames.kv_frames == frames.pinned_frames
            capped = frames.state_cap - frames.states < states
            if not self._evict_next("state" if capped or useless_kv else None):
                return False
        return True

    def evict_tokens(self, tokens: int) -> int:
        """Evict at least so many tokens of KV, leaf by leaf; returns how many went.

        ArgumentError for a negative number.
        """
        _require_budget(tokens, "tokens")
        before = self.counters.evicted_tokens
        while self.counters.evicted_tokens - before < tokens and self._evict_next("kv"):
            pass
        return self.counters.evicted_tokens - before

    def evict_states(self, states: int) -> int:
        """Evict at least so many states; returns how many went.

        ArgumentError for a negative number.
        """
        _require_budget(states, "states")
        before = self.counters.evicted_states
        while self.counters.evicted_states - before < states and self._evict_next("state"):
            pass
        return self.counters.evicted_states - before

    def _evict_next(self, kind: Kind | None) -> bool:
        victim = self.policy.victim(self.tree, kind)
        if victim is None:
            return False
        self.evict_victim(victim, self.policy.name)
        return True

    def evict_victim(self, victim: Victim, by: str) -> None:
        """Carry out one choice of the policy named."""
        self.policy.leaving(self.tree, victim)
        freed = evict(self.tree, victim, by)
        self.refs.evicted(freed.pages)
        self.store.free(freed.states)
        self.counters.evicted_tokens += freed.pages.count * self.geometry.page_tokens
        self.counters.evicted_states += len(freed.states)

    # -- rows ----------------------------------------------------------------------

    def begin(self, row: int, key: Key, at: int, recalled: Facts | None = None) -> Facts:
        """The request of a new row asks for a prompt; for a policy that learns from requests.

        `at`: when it came, in milliseconds of a clock that all ranks read alike.  `recalled`:
        what this returned when it was recorded, for a key without the real tokens.
        """
        return self.policy.began(self.tree, row, key, at, recalled)

    def open_row(self, row: int, node: Node, tokens: int) -> None:
        """A request starts in `row` on the first `tokens` tokens of a locked path."""
        pages = self.tree.path_pages(node).slice(0, self.geometry.pages_of(tokens))
        self.refs.open(row, pages)

    def allocate(self, row: int, tokens: int) -> Runs:
        """Make the row hold at least `tokens` tokens; returns the new pages.

        Evicts what it must.  OutOfPages, and no change, when that is not enough.
        """
        entry = self.refs.live(row)
        missing = max(0, self.geometry.pages_of(tokens) - entry.count)
        reserve = min(max(entry.count, missing), MAX_RESERVE)
        got = self.refs.grow(row, missing, reserve)
        if got is None:
            self.make_room_for_pages(missing)
            got = self.refs.grow(row, missing, reserve)
        if got is None:
            raise OutOfPages(self._shortage(missing, "pages", self.frames.available_pages))
        return got

    def next_pages(self, rows: list[int]) -> list[int]:
        """One more page for each row, in order: what a decode step needs.

        `make_room_for_pages(len(rows))` first; OutOfPages where that was not enough.
        """
        table = self.refs.rows
        out = self.frames.next_pages(rows)
        grown = 0
        for i, page in enumerate(out):
            if page < 0:
                row = rows[i]
                got = self.allocate(row, (table[row].count + 1) * self.geometry.page_tokens)
                out[i] = got.runs[0][0]
                continue
            entry = table[rows[i]]
            if entry.released:
                self.refs.live(rows[i])  # raises
            entry.append_page(page)
            grown += 1
        self.refs.row_pages += grown
        return out

    def publish(self, row: int, key: Key, depth: int, state: int | None) -> Published:
        """The tree takes the row's pages up to `depth`, and the state at `depth`.

        `key` is the row's tokens, at least `depth` of them; `depth` is a multiple of
        the page.  Pages that the tree has already are freed and the row uses the
        tree's.  Locks do not move: lock the new node, then unlock the old one.
        ValueError, and no change, for a key, a depth and a row that do not fit together.
        """
        page = self.geometry.page_tokens
        entry = self.refs.live(row)
        depth_pages = depth // page
        cut = Key(key.tokens[: depth * self.tree.token_bytes], key.namespace)
        if len(cut.tokens) < depth * self.tree.token_bytes:
            # A state of `depth` would be taken for one of the key's end.
            tokens = len(cut.tokens) // self.tree.token_bytes
            raise ValueError(f"a key of {tokens} tokens for depth {depth}; pass all of the row's")
        own = entry.slice(entry.shared, depth_pages)
        done = self.tree.insert(cut, own, owned_from=entry.shared * page, state=state)
        replaced = bool(done.duplicates.count)
        canonical = self.tree.path_pages(done.node) if replaced else entry.slice(0, depth_pages)
        self.refs.publish(row, canonical, done.duplicates)
        self.counters.duplicate_pages += done.duplicates.count
        self.policy.published(self.tree, row, done.node)
        if state is not None:
            self.counters.states_published += done.state_taken
            self.counters.states_declined += not done.state_taken
            if done.state_taken:
                self.row_states -= self.store.took(state, done.node)
        return Published(done.node, replaced, done.state_taken)

    def note_locked_out(self, key: Key, depth: int) -> None:
        """A state of the key's first `depth` tokens was wanted, and all memory was locked.

        Where the tree has a node for it, later misses say so.
        """
        node = self.tree.peek(
            Key(key.tokens[: depth * self.tree.token_bytes], key.namespace)
        ).deepest
        if node.end == depth:
            self.tree.note_locked_out(node)

    def release(self, row: int, start: int, stop: int) -> None:
        """The row gives back its own pages of tokens `[start, stop)`; `start` on a page."""
        page = self.geometry.page_tokens
        self.refs.release(row, start // page, -(-stop // page))

    def close_row(self, row: int) -> None:
        """The request is gone; InvariantError when it still owns pages."""
        self.refs.close(row)
        self.policy.ended(self.tree, row)

    # -- states ----------------------------------------------------------------------

    def take_states(self, count: int) -> tuple[int, ...]:
        """State slots for a request, by eviction if need be; OutOfPages on a shortage."""
        slots = self.try_states(count)
        if slots is None:
            raise OutOfPages(self._shortage(count, "state slots", self.frames.available_states))
        return slots

    def try_states(self, count: int) -> tuple[int, ...] | None:
        """As `take_states`, for what is optional: None on a shortage."""
        slots = self.frames.alloc_states(count)
        if slots is None and self.make_room_for_states(count):
            slots = self.frames.alloc_states(count)
        if slots is not None:
            self.row_states += count
        return slots

    def free_states(self, slots: tuple[int, ...] | list[int]) -> None:
        """A request gives its slots back."""
        self.frames.free_states(slots)
        self.row_states -= len(slots)

    # -- checkpoints: states that are kept compressed ----------------------------------

    def try_checkpoint(self) -> int | None:
        """A checkpoint to publish a compressed state in, by eviction if need be.

        None, and as little evicted as that takes, on a shortage.  It is the caller's until it
        is published, or given back with `drop_checkpoint`.
        """
        store = self._compressed()
        got = store.take()
        while got is None and self._evict_for_checkpoint():
            got = store.take()
        return got

    def _evict_for_checkpoint(self) -> bool:
        """One step towards an open place or an empty frame; False where there is no way."""
        frames, tree = self.frames, self.tree
        if not (tree.state_evictable or frames.fits(0, 1, self.store.evictable_frames())):
            return False
        useless_kv = frames.kv_frames == frames.pinned_frames
        capped = frames.state_cap <= frames.states
        return self._evict_next("state" if capped or useless_kv else None)

    def drop_checkpoint(self, checkpoint: int) -> None:
        """The caller gives back a checkpoint that the tree did not take."""
        self._compressed().drop(checkpoint)

    def _compressed(self) -> CheckpointStore:
        if self.checkpoints is None:
            raise ArgumentError("states are kept as they are here: there are no checkpoints")
        return self.checkpoints

    # -- the whole -------------------------------------------------------------------

    def reset(self) -> None:
        """Drop everything cached.  LockError, and no change, while a request is running."""
        if self.refs.rows or self.row_states:
            raise LockError(
                f"{len(self.refs.rows)} requests are open and hold {self.row_states} states; "
                "close them before a reset"
            )
        self.tree.reset()
        self.policy.emptied(self.tree)
        self.refs.clear()
        self.store.clear()
        self.row_states = 0

    def check(self, level: int) -> None:
        """InvariantError if an invariant does not hold.  Read only.

        Level 1 compares counters, O(1); level 2 walks the tree and every frame.
        """
        self.tree.check(level)
        wrong = [] if level < 1 else self._counter_violations()
        if level >= 2:
            wrong += self.refs.violations([node.pages for node in self.tree.walk()])
            wrong += self._pin_violations()
            wrong += self.store.violations()
            wrong += self.policy.violations(self.tree)
        if wrong:
            raise InvariantError("\n".join([*wrong, str(self.stats()), self.tree.render()]))

    def _counter_violations(self) -> list[str]:
        tree, frames, page = self.tree, self.frames, self.geometry.page_tokens
        pairs = {
            "I6 KV tokens: evictable + protected": (
                tree.full_evictable + tree.full_protected,
                self.refs.tree_pages * page,
            ),
            **self.store.pairs(self.row_states),
            "I1 pinned pages": (
                frames.pinned_pages,
                self.refs.row_pages + tree.full_protected // page,
            ),
        }
        wrong = [f"{name}: {a} != {b}" for name, (a, b) in pairs.items() if a != b]
        return wrong + self.refs.counter_violations()

    def _pin_violations(self) -> list[str]:
        """Pinned pages frame by frame, counted again from locks and rows."""
        count = [0] * self.frames.num_frames
        for node in self.tree.walk():
            if node.full_lock:
                for page in node.pages:
                    count[self.frames.frame_of(page)] += 1
        for row, entry in self.refs.rows.items():
            gone = {i for a, b in entry.released for i in range(a, b)}
            for i, page in enumerate(self.refs.pages(row, entry.shared, entry.count)):
                if entry.shared + i not in gone:
                    count[self.frames.frame_of(page)] += 1
        wrong = [
            f"frame {f}: {self.frames.pinned_in(f)} pinned, {n} found"
            for f, n in enumerate(count)
            if n != self.frames.pinned_in(f)
        ]
        return [f"I1 {line}" for line in wrong]

    def stats(self) -> dict[str, int]:
        """Sizes and totals, flat, for logs and metrics."""
        frames, tree, counters = self.frames, self.tree, self.counters
        sizes = {
            "frames": frames.num_frames - 1,
            "frames_free": frames.free_frames,
            "frames_kv": frames.kv_frames,
            "frames_state": frames.states,
            "pages_in_use": frames.kv_pages,
            "pages_stranded": frames.stranded_pages,
            "tree_nodes": tree.num_nodes,
            "full_evictable_tokens": tree.full_evictable,
            "full_protected_tokens": tree.full_protected,
            "state_evictable": tree.state_evictable,
            "state_protected": tree.state_protected,
            "rows": len(self.refs.rows),
        }
        moved = {"evacuated_bytes": counters.evacuated_pages * self.geometry.page_bytes}
        totals = {k: v for k, v in vars(counters).items() if isinstance(v, int)}
        return sizes | moved | totals | vars(frames.counters) | self.store.stats()

    def _shortage(self, need: int, what: str, have: int) -> str:
        tree, page = self.tree, self.geometry.page_tokens
        return (
            f"need {need} {what}, {have} available; nothing more can be evicted: "
            f"{tree.full_protected // page} pages and {tree.state_protected} states locked, "
            f"{self.refs.row_pages} pages and {self.row_states} states held by "
            f"{len(self.refs.rows)} requests, {self.frames.free_frames} frames free; "
            f"lower --max-running-requests or give the arena more bytes"
        )


def _require_budget(number: int, what: str) -> None:
    if number < 0:
        raise ArgumentError(f"{number} {what}: a number to make room for is at least 0")
