"""Miss reasons: they add up, each comes from the least that causes it, and none is made up.

Page 4.  A prefix in the random runs is a tuple of letters, one a page.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from itertools import count, product
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachepawl.tree import InsertResult, Miss, Node, RadixTree, Reason, WindowPart
from cachepawl.tree.ghosts import OVERHEAD_TOKENS
from cachepawl.types import NO_PAGES, Key, Runs

IDS = count(1)


def key(*tokens: int) -> Key:
    return Key(array("q", tokens).tobytes())


def put(tree: RadixTree, what: Key, *, state: bool = False, window: bool = True) -> InsertResult:
    """Insert a whole key with ids that nobody had before."""
    many = len(what.tokens) // 32
    full = Runs.of_pages(next(IDS) for _ in range(many)) if tree.has_full else NO_PAGES
    part = None
    if tree.windows is not None and window:
        part = WindowPart(0, Runs.of_pages(next(IDS) for _ in range(many)))
    slot = next(IDS) if state else None
    return tree.insert(what, full, owned_from=0, state=slot, window=part)


def why(tree: RadixTree, what: Key, limit: int | None = None) -> list[Miss]:
    return tree.explain(what, tree.peek(what, limit), limit)


A = key(*range(8))
AB = key(*range(16))
ABC = key(*range(24))
D = key(*range(70, 78))

# Each reason, by the least that causes it

Case = Callable[[], tuple[list[Miss], list[Miss]]]
CASES: dict[str, Case] = {}


def case(fn: Case) -> Case:
    CASES[fn.__name__] = fn
    return fn


@case
def nothing_cached() -> tuple[list[Miss], list[Miss]]:
    tree = RadixTree(4)
    put(tree, D, state=True)
    return why(tree, key(*range(10))), [Miss(Reason.NOTHING_CACHED, 10, 10)]


@case
def evicted() -> tuple[list[Miss], list[Miss]]:
    tree = RadixTree(4)
    tree.evict_kv(put(tree, A, state=True).node, "some policy")
    put(tree, D, state=True)
    tree.match(D)
    assert str(why(tree, A)[0]) == "8 evicted (2 uses ago by some policy)"
    return why(tree, key(*range(10))), [
        Miss(Reason.EVICTED, 8, 8, 2, "some policy"),
        Miss(Reason.NOTHING_CACHED, 2, 10),
    ]


@case
def kv_without_a_state() -> tuple[list[Miss], list[Miss]]:
    tree = RadixTree(4)
    put(tree, A, state=True)
    put(tree, AB)
    return why(tree, ABC), [Miss(Reason.NO_STATE, 8, 16), Miss(Reason.NOTHING_CACHED, 8, 24)]


@case
def kv_without_a_state_inside_an_edge() -> tuple[list[Miss], list[Miss]]:
    tree = RadixTree(4)
    put(tree, ABC, state=True)
    return why(tree, AB), [Miss(Reason.NO_STATE, 16, 16)]


@case
def state_evicted() -> tuple[list[Miss], list[Miss]]:
    tree = RadixTree(4)
    put(tree, A, state=True)
    tree.evict_state(put(tree, AB, state=True).node, "old states")
    put(tree, ABC)
    return why(tree, ABC), [
        Miss(Reason.STATE_EVICTED, 8, 16, 1, "old states"),
        Miss(Reason.NO_STATE, 8, 24),
    ]


@case
def window_broken() -> tuple[list[Miss], list[Miss]]:
    tree = RadixTree(4, window=8, has_states=False)
    put(tree, AB, window=False)
    return why(tree, AB), [Miss(Reason.WINDOW_BROKEN, 16, 16)]


@case
def window_evicted() -> tuple[list[Miss], list[Miss]]:
    tree = RadixTree(4, window=12, has_states=False)
    tree.evict_window(put(tree, A).node, "old windows")
    put(tree, D)
    put(tree, AB, window=False)
    part = WindowPart(8, Runs([(10**6, 2)]))
    tree.insert(AB, NO_PAGES, owned_from=16, state=None)
    tree.insert(AB, Runs([(10**7, 2)]), owned_from=8, state=None, window=part)
    return why(tree, AB), [Miss(Reason.WINDOW_EVICTED, 16, 16, 4, "old windows")]


@case
def window_evicted_under_a_state() -> tuple[list[Miss], list[Miss]]:
    tree = RadixTree(4, window=8)
    put(tree, A, state=True)
    tree.evict_window(put(tree, AB, state=True).node, "w")
    return why(tree, AB), [Miss(Reason.WINDOW_EVICTED, 8, 16, 0, "w")]


@case
def held_in_another_tier() -> tuple[list[Miss], list[Miss]]:
    tree = RadixTree(4)
    tree.evict_state(put(tree, AB, state=True).node, "states")
    found = tree.peek(AB)
    return tree.explain(AB, found, None, 8), [
        Miss(Reason.OTHER_TIER, 8, 8),
        Miss(Reason.STATE_EVICTED, 8, 16, 0, "states"),
    ]


@case
def held_in_another_tier_and_evicted_here() -> tuple[list[Miss], list[Miss]]:
    tree = RadixTree(4)
    tree.evict_kv(put(tree, AB, state=True).node, "lru")
    found = tree.peek(AB)
    return tree.explain(AB, found, None, 12), [
        Miss(Reason.OTHER_TIER, 12, 12),
        Miss(Reason.EVICTED, 4, 16, 0, "lru"),
    ]


@case
def locked_out() -> tuple[list[Miss], list[Miss]]:
    tree = RadixTree(4)
    tree.note_locked_out(put(tree, A).node)
    return why(tree, A), [Miss(Reason.LOCKED_OUT, 8, 8)]


@case
def last_token() -> tuple[list[Miss], list[Miss]]:
    tree = RadixTree(4, has_states=False)
    put(tree, A)
    return why(tree, A, 7), [Miss(Reason.LAST_TOKEN, 4, 8)]


@case
def last_token_of_windows() -> tuple[list[Miss], list[Miss]]:
    tree = RadixTree(4, window=8, has_states=False)
    put(tree, AB)
    return why(tree, AB, 15), [Miss(Reason.LAST_TOKEN, 4, 16)]


@case
def limit_below_everything() -> tuple[list[Miss], list[Miss]]:
    # The window is whole: it must not be blamed.
    tree = RadixTree(4, window=8, has_states=False)
    put(tree, AB)
    return why(tree, AB, -3), [Miss(Reason.LAST_TOKEN, 16, 16)]


@case
def last_token_of_states() -> tuple[list[Miss], list[Miss]]:
    tree = RadixTree(4)
    put(tree, A, state=True)
    return why(tree, key(*range(9)), 7), [
        Miss(Reason.LAST_TOKEN, 8, 8),
        Miss(Reason.NOTHING_CACHED, 1, 9),
    ]


@case
def state_at_end() -> tuple[list[Miss], list[Miss]]:
    tree = RadixTree(4)
    put(tree, A, state=True)
    put(tree, AB, state=True)
    return why(tree, AB, 15), [Miss(Reason.STATE_AT_END, 8, 16)]


@case
def evicted_state_beyond_the_limit() -> tuple[list[Miss], list[Miss]]:
    # It could not have been used anyway, so its eviction is not to blame.
    tree = RadixTree(4)
    put(tree, A, state=True)
    node = put(tree, AB, state=True).node
    tree.evict_state(node, "lru")
    return why(tree, AB, 15), [Miss(Reason.NO_STATE, 8, 16)]


@case
def all_can_be_used() -> tuple[list[Miss], list[Miss]]:
    tree = RadixTree(4, window=8)
    put(tree, A, state=True)
    return why(tree, A), []


@pytest.mark.parametrize("name", list(CASES))
def test_reason(name: str) -> None:
    found, wanted = CASES[name]()
    assert found == wanted


def test_every_reason_has_a_case() -> None:
    # A dropped prefix is what the cache says of its own decision.
    produced = {miss.reason for each in CASES.values() for miss in each()[0]}
    assert produced == set(Reason) - {Reason.DROPPED}


def test_an_arrived_state_is_no_miss_any_more() -> None:
    tree = RadixTree(4)
    node = put(tree, A).node
    tree.note_locked_out(node)
    put(tree, A, state=True)
    assert why(tree, A) == []
    tree.note_locked_out(node)
    tree.evict_state(node, "x")
    assert why(tree, A) == [Miss(Reason.STATE_EVICTED, 8, 8, 0, "x")]


# Ghosts


def evict_all(tree: RadixTree) -> None:
    """One by one: a policy named after the depth."""
    while (leaf := tree.kv_victim()) is not None:
        tree.evict_kv(leaf, f"at {leaf.end}")


def test_a_chain_of_evicted_edges_is_counted_exactly() -> None:
    tree = RadixTree(4, has_states=False)
    for part in (A, AB, ABC):
        put(tree, part)
    evict_all(tree)
    found = why(tree, ABC)
    assert [(m.reason, m.tokens, m.upto, m.by) for m in found] == [
        (Reason.EVICTED, 8, 8, "at 8"),
        (Reason.EVICTED, 8, 16, "at 16"),
        (Reason.EVICTED, 8, 24, "at 24"),
    ]
    fork = key(*range(20), *range(90, 98))
    assert [(m.reason, m.tokens) for m in why(tree, fork)] == [
        (Reason.EVICTED, 8),
        (Reason.EVICTED, 8),
        (Reason.EVICTED, 4),
        (Reason.NOTHING_CACHED, 8),
    ]
    # Not a ghost of it, though the same tokens: at another depth, in another namespace.
    assert [m.reason for m in why(tree, key(*range(8, 24)))] == [Reason.NOTHING_CACHED]
    assert [m.reason for m in why(tree, Key(ABC.tokens, b"x"))] == [Reason.NOTHING_CACHED]


def test_a_parent_that_returns_finds_the_ghost_of_its_child() -> None:
    tree = RadixTree(4, has_states=False)
    for part in (A, AB, ABC):
        put(tree, part)
    evict_all(tree)
    put(tree, A)
    assert [(m.reason, m.tokens) for m in why(tree, ABC)] == [(Reason.EVICTED, 8)] * 2
    put(tree, AB)
    assert [(m.reason, m.tokens) for m in why(tree, ABC)] == [(Reason.EVICTED, 8)]
    put(tree, ABC)
    assert why(tree, ABC) == []
    assert len(tree.ghosts) == 0
    tree.check(2)


def test_ghosts_outlive_a_split_of_what_they_hang_on() -> None:
    tree = RadixTree(4, has_states=False)
    put(tree, AB)
    tree.evict_kv(put(tree, ABC).node, "x")
    put(tree, key(*range(8), *range(90, 98)))
    assert why(tree, ABC) == [Miss(Reason.EVICTED, 8, 24, 1, "x")]


def test_ghosts_are_bounded() -> None:
    room = 2 * (8 + OVERHEAD_TOKENS)
    tree = RadixTree(4, has_states=False, ghost_tokens=room + 7)
    keys = [key(*range(100 * n, 100 * n + 8)) for n in range(10)]
    for what in keys:
        tree.evict_kv(put(tree, what).node)
        assert len(tree.ghosts) <= 2
    reasons = [why(tree, what)[0].reason for what in keys]
    assert reasons == [Reason.NOTHING_CACHED] * 8 + [Reason.EVICTED] * 2
    for _ in range(50):  # what comes and goes leaves no debt
        tree.evict_kv(put(tree, keys[0]).node)
        tree.evict_kv(put(tree, keys[1]).node)
    assert [why(tree, what)[0].reason for what in keys[:2]] == [Reason.EVICTED] * 2
    tree.evict_kv(put(tree, key(*range(4000))).node)
    assert len(tree.ghosts) == 0


def test_no_room_for_ghosts() -> None:
    tree = RadixTree(4, has_states=False, ghost_tokens=0)
    tree.evict_kv(put(tree, A).node)
    assert why(tree, A) == [Miss(Reason.NOTHING_CACHED, 8, 8)]


def test_a_reset_forgets() -> None:
    tree = RadixTree(4, has_states=False)
    tree.evict_kv(put(tree, A).node)
    tree.reset()
    assert why(tree, A) == [Miss(Reason.NOTHING_CACHED, 8, 8)]


# Random trees

Path = tuple[int, ...]
LETTERS = st.lists(st.sampled_from([0, 0, 1]), max_size=6).map(tuple)


class Step(NamedTuple):
    verb: str
    path: Path
    which: int
    state: bool
    window: bool


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(["put", "put", "kv", "kv", "state", "window", "shut out"]),
        LETTERS,
        st.integers(0, 99),
        st.booleans(),
        st.booleans(),
    ),
    max_size=25,
)
KINDS = [kinds for kinds in product((True, False), (8, None), (True, False)) if any(kinds)]


def key_of(path: Path, tail: int = 0) -> Key:
    return key(*(t for letter in path for t in (0, 0, 0, letter)), *[0] * tail)


class Past:
    """All that was ever there: prefixes with KV, with states, with windows."""

    def __init__(self, tree: RadixTree) -> None:
        self.tree = tree
        self.kv: set[Path] = set()
        self.states: set[Path] = set()
        self.shut_out: set[Path] = set()
        self.windows_went = False

    def path_of(self, node: Node) -> Path:
        edges = []
        while node.parent is not None:
            edges.append(node.key)
            node = node.parent
        return tuple(array("q", b"".join(reversed(edges)))[3::4])

    def take(self, step: Step) -> None:
        tree = self.tree
        if step.verb == "put":
            state = step.state and tree.has_states and bool(step.path)
            put(tree, key_of(step.path), state=state, window=step.window)
            self.kv |= {step.path[:n] for n in range(1, len(step.path) + 1)}
            self.states |= {step.path} if state else set()
            return
        nodes = [node for node in tree.walk() if self.may(step.verb, node)]
        if not nodes:
            return
        node = nodes[step.which % len(nodes)]
        if step.verb == "kv":
            tree.evict_kv(node, "kv")
        elif step.verb == "state":
            tree.evict_state(node, "state")
        elif step.verb == "window":
            tree.evict_window(node, "window")
            self.windows_went = True
        else:
            tree.note_locked_out(node)
            self.shut_out.add(self.path_of(node))

    def may(self, verb: str, node: Node) -> bool:
        if verb == "kv":
            return not node.children
        if verb == "state":
            return node.state is not None
        if verb == "window":
            return node.window is not None
        return self.tree.has_states and node.state is None

    def believes(self, path: Path, start: int, miss: Miss, limit: int | None, length: int) -> None:
        """One reason, for `[start, miss.upto)` of a key."""
        upto = path[: miss.upto // 4]
        if miss.reason in (Reason.EVICTED, Reason.STATE_EVICTED, Reason.LOCKED_OUT):
            assert miss.upto % 4 == 0
        if miss.reason is Reason.EVICTED:
            assert start % 4 == 0
            assert upto in self.kv
            assert self.tree.peek(key_of(upto)).kv_len <= start
            assert (miss.by, miss.age is not None) == ("kv", True)
        elif miss.reason is Reason.STATE_EVICTED:
            assert upto in self.states
            assert self.tree.peek(key_of(upto)).deepest.state is None
            assert (miss.by, miss.age is not None) == ("state", True)
        elif miss.reason is Reason.LOCKED_OUT:
            assert upto in self.shut_out
        elif miss.reason is Reason.WINDOW_EVICTED:
            assert self.windows_went
            assert miss.by == "window"
        elif miss.reason is Reason.WINDOW_BROKEN:
            node: Node | None = self.tree.peek(key_of(upto)).deepest
            on_path = []
            while node is not None and node.parent is not None:
                on_path.append(node)
                node = node.parent
            assert any(node.window is None for node in on_path)
        elif miss.reason is Reason.NO_STATE:
            assert self.tree.has_states
        elif miss.reason in (Reason.LAST_TOKEN, Reason.STATE_AT_END):
            assert limit is not None
            assert limit < miss.upto
            assert miss.reason is Reason.LAST_TOKEN or miss.upto == length
        else:
            assert miss.reason is Reason.NOTHING_CACHED
            assert miss.upto == length


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    kinds=st.sampled_from(KINDS),
    ghosts=st.sampled_from([0, 200, 1 << 20]),
    steps=STEPS,
    asked=st.lists(
        st.tuples(LETTERS, st.integers(0, 3), st.none() | st.integers(-2, 25)), min_size=4
    ),
)
def test_reasons_add_up_and_none_is_made_up(
    kinds: tuple[bool, int | None, bool],
    ghosts: int,
    steps: list[Step],
    asked: list[tuple[Path, int, int | None]],
) -> None:
    full, window, states = kinds
    tree = RadixTree(4, has_full=full, window=window, has_states=states, ghost_tokens=ghosts)
    past = Past(tree)
    for step in steps:
        past.take(step)
    tree.check(2)
    asked += [(step.path, 0, len(step.path) * 4 - 1) for step in steps if step.path]
    for path, tail, limit in asked:
        what, length = key_of(path, tail), len(path) * 4 + tail
        found = tree.peek(what, limit)
        before = tree.render(), tree.clock, len(tree.ghosts)
        misses = tree.explain(what, found, limit)
        assert (tree.render(), tree.clock, len(tree.ghosts)) == before
        assert sum(miss.tokens for miss in misses) == length - found.usable_len
        at = found.usable_len
        for miss in misses:
            assert miss.tokens > 0
            assert miss.upto == at + miss.tokens
            past.believes(path, at, miss, limit, length)
            at = miss.upto
        assert at == length


# Cost


class CountingNode(Node):
    """A node that notes each access."""

    __slots__ = ()
    seen: set[int] = set()  # noqa: RUF012 - shared on purpose

    def __getattribute__(self, name: str) -> object:
        CountingNode.seen.add(id(self))
        return super().__getattribute__(name)


@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize("window", [8, None])
def test_explain_stays_on_the_path(states: bool, window: int | None) -> None:
    tree = RadixTree(4, has_states=states, window=window)
    stem = list(range(64))
    for end in range(8, 65, 8):
        put(tree, key(*stem[:end]), state=states and end < 24, window=end < 32)
        for n in range(30):
            put(tree, key(*stem[:end], *range(1000 + 8 * n, 1008 + 8 * n)), state=states)
    tree.evict_kv(put(tree, key(*stem, *range(500, 508))).node)
    what = key(*stem, *range(500, 516))
    found = tree.peek(what)
    path = set()
    node = found.deepest
    while node.parent is not None:
        path.add(id(node))
        node = node.parent
    for node in tree.walk():
        node.__class__ = CountingNode
    CountingNode.seen.clear()
    misses = tree.explain(what, found)
    assert CountingNode.seen <= path
    assert misses[-2].reason is Reason.EVICTED
    assert misses[-2].tokens == 8
