"""Our tree and SGLang's hold the same, say the same, and give the same back, at every step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from lockstep import Cell, Lockstep
from paths import Path
from theirs import NAMESPACES
from walk import DEPTH, LETTERS, walk

from benchmarks.sglang_tree import CORES, sglang_context, why_no_rust

PAGES = (1, 4, 16)
CELLS = [
    Cell(core, page, has_states, split_alike)
    for core in CORES
    for page in PAGES
    for has_states, split_alike in ((True, False), (False, False), (False, True))
]
CELLS += [
    Cell(core, page, has_states, split_alike=True, window=window, windowed=windowed)
    for core in CORES
    for page, window in ((1, 1), (1, 3), (4, 8), (4, 13), (16, 20))
    for has_states in (True, False)
    for windowed in (True, False)
]
STEPS = int(os.environ.get("DIFFERENTIAL_STEPS", "20000"))
"""Steps of a long walk, each in every cell."""


def there(core: str) -> bool:
    return core != "rust" or why_no_rust() is None


@pytest.fixture(params=CELLS, ids=str)
def cell(request: pytest.FixtureRequest) -> Iterator[Cell]:
    if not there(request.param.core):
        pytest.skip(f"no Rust core here: {why_no_rust()}")
    with sglang_context(request.param.page):
        yield request.param


def test_same_answers(cell: Cell) -> None:
    machine = Lockstep(cell)
    walk(machine, seed=1, steps=1500)
    done = machine.done
    # Else the walk has shown little.
    assert min(done["hit"], done["insert"], done["lock"], done["evict kv"]) > 30
    if cell.has_states:
        assert min(done["evict state"], done["insert without a state"]) > 20
    if cell.windowed:
        assert min(done["SGLang's choice of windows"], done["shorter"]) > 10


@pytest.mark.stress
def test_same_answers_for_long(cell: Cell) -> None:
    """Every seed and step can be repeated: a failure notes both."""
    for seed in range(STEPS // 2000):
        walk(Lockstep(cell), seed=1000 + seed, steps=2000)


class Machine(RuleBasedStateMachine):
    """The same verbs under Hypothesis, which makes a failure small."""

    paths = st.tuples(
        st.sampled_from(list(NAMESPACES)),
        st.lists(st.integers(0, LETTERS - 1), max_size=DEPTH),
    ).map(lambda drawn: (drawn[0], *drawn[1]))
    picks = st.integers(0, 999)

    @initialize(
        cell=st.sampled_from(CELLS).filter(lambda cell: there(cell.core)),
        batch=st.lists(st.tuples(paths, st.booleans()), min_size=1, max_size=8),
    )
    def start(self, cell: Cell, batch: list[tuple[Path, bool]]) -> None:
        self.stack = ExitStack()
        self.stack.enter_context(sglang_context(cell.page))
        self.both = Lockstep(cell)
        for path, with_state in batch:
            self.both.insert(path, 0, with_state, 0)

    def near(self, path: Path, which: int) -> Path:
        """A path as drawn, or one that leaves a cached one somewhere, or a cached one."""
        size = self.both.size
        keys = sorted({self.both.key_to(node) for node in self.both.nodes()})
        if not keys or which % 4 == 0:
            return path
        key = keys[which // 4 % len(keys)]
        letters = []
        for at in range(0, len(key.tokens), 8 * size):
            first, last = key.tokens[at], key.tokens[at + 8 * (size - 1)]
            letters.append(2 if first == 2 else last)
        base: Path = (key.namespace, *letters)
        return base if which % 4 == 3 else base[: 1 + which % len(base)] + path[1:4]

    @rule(path=paths, which=picks, tail=picks, limit=st.none() | st.integers(0, DEPTH * 16))
    def match(self, path: Path, which: int, tail: int, limit: int | None) -> None:
        self.both.match(self.near(path, which), tail % self.both.size, limit)

    @rule(
        path=paths,
        which=picks,
        first=st.integers(0, DEPTH),
        with_state=st.booleans(),
        window_from=st.none() | st.integers(0, DEPTH),
    )
    def insert(
        self, path: Path, which: int, first: int, with_state: bool, window_from: int | None
    ) -> None:
        self.both.insert(self.near(path, which), first, with_state, window_from)

    @rule(path=paths, which=picks, keep_state=st.booleans(), deepest=st.booleans())
    def lock(self, path: Path, which: int, keep_state: bool, deepest: bool) -> None:
        self.both.lock(self.near(path, which), keep_state, deepest)

    @rule(which=picks)
    def unlock(self, which: int) -> None:
        self.both.unlock(which)

    @rule(which=st.none() | picks)
    def evict_kv(self, which: int | None) -> None:
        self.both.evict_kv(which)

    @precondition(lambda self: self.both.cell.has_states)
    @rule(which=st.none() | picks)
    def evict_state(self, which: int | None) -> None:
        self.both.evict_state(which)

    @rule(tokens=st.integers(1, 64))
    def evict_their_kv(self, tokens: int) -> None:
        self.both.evict_theirs(tokens)

    @precondition(lambda self: self.both.cell.has_states)
    @rule(states=st.integers(1, 4))
    def evict_their_states(self, states: int) -> None:
        self.both.evict_theirs(states=states)

    @precondition(lambda self: self.both.cell.windowed)
    @rule(tokens=st.integers(1, 64))
    def evict_their_windows(self, tokens: int) -> None:
        self.both.evict_theirs(window=tokens)

    @precondition(lambda self: self.both.ours.num_nodes > 12)
    @rule()
    def reset(self) -> None:
        self.both.reset()

    @invariant()
    def agree(self) -> None:
        if hasattr(self, "both"):
            self.both.agree()
            self.both.check()

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()


def test_machine(must_pass: Callable[..., None]) -> None:
    must_pass(Machine, runs=100, steps=30)


@pytest.mark.stress
def test_machine_for_long(must_pass: Callable[..., None]) -> None:
    """The same with fresh seeds."""
    must_pass(Machine, runs=1500, steps=60, fresh=True)
