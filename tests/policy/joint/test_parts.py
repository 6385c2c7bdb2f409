"""The parts of `joint`, each beside something slow and plain."""

from __future__ import annotations

from array import array
from itertools import pairwise
from math import frexp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachepawl.policy.joint import Joint
from cachepawl.policy.joint.ages import (
    EDGES,
    HALVED,
    LAST,
    LEVEL_OF_STEP,
    LEVELS,
    STEP_EDGES,
    WIDTHS,
    level_of,
    step_of,
)
from cachepawl.policy.joint.classes import BRANCH, END, Classes, Traits
from cachepawl.policy.joint.ranks import RANKS, Queue, Ranked, rank_of, withdraw
from cachepawl.policy.joint.sites import Sites
from cachepawl.policy.joint.spells import Spells
from cachepawl.policy.joint.survival import MOST, Table, index_of, rates_of
from cachepawl.tree import RadixTree
from cachepawl.types import Key, Runs

CHANCES = st.lists(st.floats(1e-6, MOST), min_size=LEVELS, max_size=LEVELS)


def test_levels_begin_at_their_edges() -> None:
    for level, edge in enumerate(EDGES):
        assert level_of(edge) == level
        assert not level or level_of(edge - 1) == level - 1
    assert level_of(1 << 60) == LAST
    assert [b - a for a, b in pairwise(EDGES)] == [1000 * w for w in WIDTHS[:-1]]


def test_steps_are_levels_or_halves_of_long_ones() -> None:
    for step, (edge, level) in enumerate(zip(STEP_EDGES, LEVEL_OF_STEP, strict=True)):
        assert step_of(edge) == step
        assert not step or step_of(edge - 1) == step - 1
        assert level_of(edge) == level
    halves = [edge // EDGES[level] for edge, level in zip(STEP_EDGES, LEVEL_OF_STEP) if level]  # noqa: B905
    assert halves == [1] * (HALVED - 1) + [1, 2] * (LAST - HALVED) + [1]
    assert step_of(1 << 60) == len(STEP_EDGES) - 1


@given(CHANCES)
def test_rates_fall_half_way_inside_a_level(chances: list[float]) -> None:
    index = index_of(chances)
    rates = rates_of(index)
    for step, level in enumerate(LEVEL_OF_STEP):
        if step and LEVEL_OF_STEP[step - 1] == level:
            mean = (index[level] * index[level + 1]) ** 0.5
            assert rates[step] == pytest.approx(min(index[level], mean))
        else:
            assert rates[step] == index[level]


def test_a_unit_is_worth_less_half_way_through_a_long_level() -> None:
    policy, tree = Joint(), RadixTree(64)
    policy.serve(tree, 1.0, 1.0)
    policy.began(tree, 1, Key(array("q", [1] * 64).tobytes()), 0, None)
    node = tree.insert(
        Key(array("q", [1] * 64).tobytes()), Runs([(1, 1)]), owned_from=0, state=1
    ).node
    policy.published(tree, 1, node)
    unit = policy.units.of(node)
    (site,) = unit.sites
    seen = []
    for edge in STEP_EDGES:
        for at in (edge - 1, edge) if edge else (edge,):
            policy.began(tree, 2, Key(array("q", [2]).tobytes()), at, None)
            seen.append(site.step)
            assert site.table is not None
            assert policy.worth(unit) == pytest.approx(site.table.rates[site.step] * unit.saving)
    assert seen == [0, *(step for one in range(1, len(STEP_EDGES)) for step in (one - 1, one))]


@given(CHANCES)
def test_the_index_is_the_best_moment_to_give_up(chances: list[float]) -> None:
    for level, found in enumerate(index_of(chances)):
        best, alive, uses, seconds = 0.0, 1.0, 0.0, 0.0
        for chance, width in zip(chances[level:], WIDTHS[level:], strict=True):
            uses += alive * chance
            seconds += alive * (1 - chance / 2) * width
            alive *= 1 - chance
            best = max(best, uses / seconds)
        assert abs(found - best) <= 1e-9 * best


@given(st.floats(1e-15, 1e15), st.floats(1e-15, 1e15))
def test_ranks_keep_the_order(one: float, other: float) -> None:
    low, high = sorted([one, other])
    assert 0 < rank_of(low) <= rank_of(high)
    assert rank_of(high) > rank_of(low) or high / low < 2 ** (2 / 16)
    assert rank_of(0.0) == 0
    assert rank_of(1e-300) == 1
    assert rank_of(1e-15) < rank_of(1e15) < rank_of(1e300) < RANKS


@given(st.floats(1e-15, 1e15))
def test_sixteen_ranks_an_octave(score: float) -> None:
    mantissa, exponent = frexp(score)
    assert rank_of(score) == rank_of(2.0 ** (exponent - 1)) + int(32 * mantissa) - 16
    assert rank_of(2 * score) == rank_of(score) + 16


class Thing(Ranked):
    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number
        self.rank = None


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-1, 4)), max_size=60))
def test_the_queue_against_a_list(steps: list[tuple[int, int]]) -> None:
    """Scores are octaves; -1 withdraws."""
    queue: Queue[Thing] = Queue()
    things = [Thing(number) for number in range(10)]
    model: list[tuple[int, int]] = []  # thing, rank; in order of arrival
    for thing, octave in steps:
        rank = rank_of(2.0**octave)
        if octave < 0:
            withdraw(things[thing])
        else:
            queue.put(things[thing], 2.0**octave)
        if octave < 0 or dict(model).get(thing) != rank:
            model = [pair for pair in model if pair[0] != thing]
            model += [(thing, rank)] * (octave >= 0)
        order = sorted(model, key=lambda pair: pair[1])
        assert [thing.number for thing in queue] == [thing for thing, _ in order]
        lowest = queue.lowest()
        if lowest is None:
            assert not order
        else:
            assert (lowest.first().number, lowest.number) == order[0]


STEPS = st.lists(
    st.tuples(st.sampled_from(["begin", "end", "use", "void", "wait"]), st.integers(0, 30)),
    max_size=80,
)


@given(STEPS)
@settings(max_examples=200)
def test_tables_are_what_the_remembered_spells_say(steps: list[tuple[str, int]]) -> None:
    classes = Classes()
    spells: Spells[int] = Spells(most=8)
    now = count = 0
    starts: list[int] = []
    told: dict[int, list[int]] = {}
    ended: set[int] = set()
    for verb, number in steps:
        if verb == "begin":
            table = classes.table(Traits(END, number % 5, None, 100), number % 3)
            assert spells.begin(table, count, now) == count
            starts.append(now)
            told[count] = []
            count += 1
        elif verb == "end" and count:
            spells.end(number % count, now)
            ended.add(number % count)
        elif verb == "use":  # of nobody's spell, which takes a number all the same
            spells.add_use(classes.table(Traits(END, 1, None, 100), 0), 1000 * number, now)
            starts.append(now)
            told[count] = []
            ended.add(count)
            count += 1
        elif verb == "void" and count:
            spells.void(number % count)
            ended.add(number % count)
        else:
            now += number * (300 if number % 2 else 6000)
            for owner, level in spells.advance(now, 1000):
                told[owner].append(level)
    for owner in range(max(0, count - 8), count):
        assert told[owner] == sorted(set(told[owner]))
        if owner not in ended:
            assert max(told[owner], default=0) == step_of(now - starts[owner])
    for finer in reversed(classes.tables.values()):
        finer.tell()
    counted: dict[tuple[int, ...], tuple[list[int], list[int]]] = {}
    for spell in spells.remembered(now):
        at: Table | None = spell.table
        while at is not None:
            there, over = counted.setdefault(at.key, ([0] * LEVELS, [0] * LEVELS))
            there[spell.level] += 1
            over[spell.level] += spell.ended
            at = at.parent
    none = [0] * LEVELS, [0] * LEVELS
    for key, table in classes.tables.items():
        assert (table.there, table.ended) == counted.get(key, none)


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6), max_size=25), st.booleans())
def test_sites_against_prefixes_in_a_set(prompts: list[list[int]], forget: bool) -> None:
    sites = Sites(most_sites=6 if forget else 100)
    known: set[bytes] = set()
    for prompt in prompts:
        marks = b"".join(mark.to_bytes(8, "little") for mark in prompt)
        walk = sites.walk(marks, b"")
        if not forget:
            # Whatever begins some prompt is known, and sites are where one ended or two parted.
            depth = max((n for n in range(len(prompt) + 1) if marks[: 8 * n] in known), default=0)
            assert walk.end == depth
        if walk.site.end < walk.end:
            branch = sites.make(walk, marks, walk.end, Traits(BRANCH, 0, None, 0))
            walk = sites.walk(marks, b"")
            assert walk.site is branch
        if walk.site.end < len(prompt):
            sites.make(walk, marks, len(prompt), Traits(END, 0, None, 0))
        found = sites.walk(marks, b"")
        assert (found.site.end, found.end, found.below) == (len(prompt), len(prompt), None)
        again = sites.recall(found.facts, b"")
        assert again == found
        sites.touch(found.site)
        known |= {marks[: 8 * n] for n in range(1, len(prompt) + 1)}
        while (old := sites.excess()) is not None:
            sites.forget(old)
        assert sites.walk(marks, b"").site.end == len(prompt)  # the latest used stays
        assert sites.marks == sum(len(site.edge) // 8 for site in sites)
        assert len(sites) <= 100
