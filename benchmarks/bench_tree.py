"""One verb at a time: our prefix cache next to SGLang's, both tree cores, in one process.

Every figure is the median CPU time of ONE public call.  The same seeded conversations
fill every implementation, in the same order: 776 states, 8 system prompts of 2048 tokens
under 24 conversations of 4 turns of 512 tokens, so a conversation is 4096 tokens on a
path of 5 nodes.  Sixteen requests run at a time and decode their last 64 tokens in turn,
so our pages lie as concurrent requests leave them.

What a call is:

    column       match, lock, unlock, insert, evict
    ours         `HybridPrefixCache.match` `.lock` `.unlock` `.publish` `.evict_tokens` or
                 `.evict_states`: tree + page references + frames.  Making our key from
                 SGLang's `array('q')` is inside.
    adapter      the same through `CachepawlPrefixCache`, SGLang's interface with SGLang's
                 parameter and result types.  Its insert is that of `ours`.
    bare tree    `RadixTree` alone, key making included: `ours` without page references and
                 frames.
    python rust  `UnifiedRadixCache.match_prefix` `.inc_lock_ref` `.dec_lock_ref` `.insert`
                 `.evict`, with KV and Mamba components, on the named tree core.

In every figure: everything the call does, its result object, one reading of the clock.
In none: the token array, SGLang's `RadixKey` and parameter objects, index tensors handed
to SGLang's insert, allocation of KV and states, copies of states, device work.  SGLang
frees into stub pools in O(1); ours pays for its real frame accounting.

The rows, all checked while they run:

    match hit          4352 tokens, of which 4096 over 5 nodes are cached with a state
    match 131k         131072 tokens over 64 nodes, all cached
    match inside edge  4096 cached tokens, of which the prompt shares 64 to 448 of the last
                       512: usable are 3584.  SGLang splits the edge in this call; ours
                       leaves it whole (an insert splits it)
    insert +512        4608 tokens with a state; 4096 are cached and locked, 512 are new
    insert duplicate   4096 tokens with a state, the last 512 computed although they are
                       cached with a state by now: the 512 and the state are not taken
    lock, unlock       a path of 5 nodes.  SGLang's conversion of the lock's receipt into
                       the unlock's parameters is in neither
    lock + unlock 64   a path of 64 nodes, both calls, that conversion between them
    evict one state    the least recently used of 776, on inner nodes and leaves as it comes
    evict one leaf     the least recently used leaf, 512 tokens and its state
    evict of 3200      the same in a tree with 3200 leaves
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from benchmarks.clock import Samples, Timed, interleave, median_us
from benchmarks.ours import Adapter, BareTree, Ours
from benchmarks.sglang_tree import python_core, rust_core, sglang_context, why_no_rust
from benchmarks.subject import Hit, Room, Sizes, Subject, look_up
from benchmarks.workload import (
    LEAVES,
    LONG_NODES,
    LONG_STEP,
    PROMPT,
    TURN,
    TURNS,
    Batch,
    Conversations,
    Shape,
    long_path,
    many_leaves,
)

MATCH_HIT = "match hit"
MATCH_LONG = "match 131k, 64 nodes"
MATCH_INSIDE = "match inside an edge"
INSERT_MORE = "insert +512"
INSERT_DUPLICATE = "insert duplicate"
LOCK = "lock"
UNLOCK = "unlock"
LOCK_LONG = "lock + unlock, 64 nodes"
EVICT_STATE = "evict one state"
EVICT_LEAF = "evict one leaf"
EVICT_LEAF_OF_MANY = "evict one leaf of 3200"
ROWS = (
    MATCH_HIT,
    MATCH_LONG,
    MATCH_INSIDE,
    INSERT_MORE,
    INSERT_DUPLICATE,
    LOCK,
    UNLOCK,
    LOCK_LONG,
    EVICT_STATE,
    EVICT_LEAF,
    EVICT_LEAF_OF_MANY,
)

WHOLE = PROMPT + TURNS * TURN
CUTS = (448, 320, 192, 64)
"""Where a fork leaves the last turn; falling, so that SGLang has an edge to split each time."""
LONG_CALLS = 64
Make = Callable[[int, Room], Subject]
COLUMNS: dict[str, Make] = {
    "ours": Ours,
    "python": python_core,
    "rust": rust_core,
    "adapter": Adapter,
    "bare": BareTree,
}
"""Column -> an implementation for `(page, room)`."""
TreeRow = dict[str, Any]


class WrongWorkError(RuntimeError):
    """An implementation did not do what the row says."""


class Forest(NamedTuple):
    """The implementations, each with the same things cached."""

    subjects: dict[str, Subject]

    @classmethod
    def grow(
        cls, makers: dict[str, Make], page: int, room: Room, script: Iterable[Batch]
    ) -> Forest:
        """Fill a new tree of every implementation."""
        forest = cls({column: make(page, room) for column, make in makers.items()})
        forest.fill(script)
        return forest

    def fill(self, script: Iterable[Batch]) -> None:
        for batch in script:
            for subject in self.subjects.values():
                subject.fill(batch)

    def time(
        self, calls: int, *phases: Callable[[Subject, int], Timed]
    ) -> list[dict[str, list[int]]]:
        """Nanoseconds by column, one dictionary a phase."""
        subjects = self.subjects
        timed: list[Samples[Subject]] = interleave(list(subjects.values()), calls, *phases)
        return [{name: times[subject] for name, subject in subjects.items()} for times in timed]

    def sizes(self) -> dict[str, Sizes]:
        return {name: subject.sizes() for name, subject in self.subjects.items()}

    def must_be(self, what: str, wanted: Sizes) -> None:
        """WrongWorkError unless every implementation has exactly this cached."""
        for name, found in self.sizes().items():
            if found != wanted:
                raise WrongWorkError(f"{what}: {name} has {found} cached, not {wanted}")


def must_hit(what: str, usable: int, kv: int) -> Callable[[Hit], None]:
    """WrongWorkError unless a match gave exactly this."""

    def seen(hit: Hit) -> None:
        if (hit.usable, hit.kv) != (usable, kv):
            raise WrongWorkError(f"{what}: {hit.usable} of {hit.kv} tokens, not {usable} of {kv}")

    return seen


def measure(
    page: int, shape: Shape, makers: dict[str, Make] = COLUMNS
) -> Iterator[tuple[str, dict[str, list[int]]]]:
    """`(row, nanoseconds by column)` of every row at one page size."""
    with sglang_context(page):
        yield from _measure_conversations(page, shape, makers)
        yield from _measure_long(page, shape, makers)
        yield from _measure_eviction(page, shape, makers)


def _conversations(
    page: int, shape: Shape, makers: dict[str, Make]
) -> tuple[Conversations, Forest]:
    talk = Conversations(shape)
    calls = shape.calls * TURN
    room = Room(
        shape.states * TURN + shape.prompts * PROMPT + 2 * calls, shape.states + shape.calls
    )
    forest = Forest.grow(makers, page, room, talk.script)
    forest.must_be("filling", _filled(shape))
    return talk, forest


def _filled(shape: Shape) -> Sizes:
    turns = shape.prompts * shape.conversations * TURNS
    return Sizes(shape.prompts * PROMPT + turns * TURN, shape.states)


def _measure_conversations(
    page: int, shape: Shape, makers: dict[str, Make]
) -> Iterator[tuple[str, dict[str, list[int]]]]:
    talk, forest = _conversations(page, shape, makers)
    leaves = len(talk.whole)
    questions = [talk.question(7 * i) for i in range(shape.calls)]
    whole = must_hit(MATCH_HIT, WHOLE, WHOLE)
    yield MATCH_HIT, *forest.time(shape.calls, lambda s, i: s.match(questions[i], whole))

    yield from _measure_locks(talk, forest, shape)

    (times,) = forest.time(shape.calls, lambda s, i: s.insert(talk.whole[i % leaves]))
    forest.must_be(INSERT_DUPLICATE, _filled(shape))
    yield INSERT_DUPLICATE, times

    # A third of the conversations is forked, the others grow.
    forked = leaves // 3
    forks = [talk.fork(i, cut) for cut in CUTS for i in range(forked)][: shape.calls]
    wanted = [
        must_hit(MATCH_INSIDE, WHOLE - TURN, WHOLE - TURN + cut)
        for cut in CUTS
        for _ in range(forked)
    ]
    (times,) = forest.time(len(forks), lambda s, i: s.match(forks[i], wanted[i]))
    yield MATCH_INSIDE, times

    grown = [talk.next_turn(forked + i % (leaves - forked)) for i in range(shape.calls)]
    (times,) = forest.time(shape.calls, lambda s, i: s.insert(grown[i]))
    before = _filled(shape)
    forest.must_be(
        INSERT_MORE, Sizes(before.tokens + TURN * shape.calls, before.states + shape.calls)
    )
    yield INSERT_MORE, times


def _measure_locks(
    talk: Conversations, forest: Forest, shape: Shape
) -> Iterator[tuple[str, dict[str, list[int]]]]:
    ends = {s: [look_up(s, tokens).node for tokens in talk.whole] for s in forest.subjects.values()}
    receipts: dict[Subject, dict[int, Any]] = {subject: {} for subject in ends}

    def lock(subject: Subject, i: int) -> Timed:
        node = ends[subject][7 * i % len(talk.whole)]
        return subject.lock(node, lambda receipt: receipts[subject].update({i: receipt}))

    def unlock(subject: Subject, i: int) -> Timed:
        return subject.unlock(ends[subject][7 * i % len(talk.whole)], receipts[subject].pop(i))

    locked, unlocked = forest.time(shape.calls, lock, unlock)
    yield LOCK, locked
    yield UNLOCK, unlocked


def _measure_long(
    page: int, shape: Shape, makers: dict[str, Make]
) -> Iterator[tuple[str, dict[str, list[int]]]]:
    _, forest = _conversations(page, shape, makers)
    script = long_path()
    forest.fill(script)
    (tokens,) = script[-1]
    length = LONG_NODES * LONG_STEP
    calls = min(shape.calls, LONG_CALLS)
    whole = must_hit(MATCH_LONG, length, length)
    yield MATCH_LONG, *forest.time(calls, lambda s, _: s.match(tokens, whole))
    ends = {s: look_up(s, tokens).node for s in forest.subjects.values()}
    yield LOCK_LONG, *forest.time(calls, lambda s, _: s.lock_and_unlock(ends[s]))


def _measure_eviction(
    page: int, shape: Shape, makers: dict[str, Make]
) -> Iterator[tuple[str, dict[str, list[int]]]]:
    # The oldest prompt's turns, not the prompt itself, which is a longer leaf at last.
    calls = min(shape.calls, shape.conversations * TURNS)
    _, forest = _conversations(page, shape, makers)
    (times,) = forest.time(calls, lambda s, _: s.evict_state())
    for name, sizes in forest.sizes().items():
        if sizes.states != shape.states - calls:
            raise WrongWorkError(
                f"{EVICT_STATE}: {name} has {sizes.states} states left of {shape.states}"
            )
    yield EVICT_STATE, times

    _, forest = _conversations(page, shape, makers)
    (times,) = forest.time(calls, lambda s, _: s.evict_leaf())
    before = _filled(shape)
    forest.must_be(EVICT_LEAF, Sizes(before.tokens - TURN * calls, before.states - calls))
    yield EVICT_LEAF, times

    nodes = shape.prompts + LEAVES
    forest = Forest.grow(makers, page, Room(nodes * TURN, nodes), many_leaves(shape))
    (times,) = forest.time(calls, lambda s, _: s.evict_leaf())
    forest.must_be(EVICT_LEAF_OF_MANY, Sizes((nodes - calls) * TURN, nodes - calls))
    yield EVICT_LEAF_OF_MANY, times


def measure_all(
    pages: Iterable[int], shape: Shape, note: Callable[[str], None]
) -> tuple[list[TreeRow], str | None]:
    """Every row at every page size, in the order of `ROWS`; and why Rust is missing, or None."""
    no_rust = why_no_rust()
    makers = {c: make for c, make in COLUMNS.items() if c != "rust" or no_rust is None}
    rows: list[TreeRow] = []
    for page in pages:
        found = []
        for name, times in measure(page, shape, makers):
            note(f"page {page}: {name}")
            medians = {f"{c}_us": median_us(times[c]) if c in times else None for c in COLUMNS}
            calls = min(len(t) for t in times.values())
            found.append({"row": name, "page": page, **medians, "calls": calls})
        rows += sorted(found, key=lambda row: ROWS.index(row["row"]))
    return rows, no_rust


def above_the_bar(rows: list[TreeRow]) -> list[TreeRow]:
    """The rows in which ours is not below SGLang's Python core."""
    return [row for row in rows if row["ours_us"] >= row["python_us"]]
