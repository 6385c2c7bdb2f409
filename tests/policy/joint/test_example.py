"""The example of docs/policy.md, number by number."""

from __future__ import annotations

import itertools
import re
from array import array
from pathlib import Path
from typing import NamedTuple

import pytest

from cachepawl.policy.joint import Joint
from cachepawl.policy.joint.ages import EDGES, LEVELS, WIDTHS
from cachepawl.policy.joint.survival import COARSER_WEIGHT, PRIOR, hazard_of, index_of
from cachepawl.tree import Node, RadixTree
from cachepawl.types import Key, Runs

TEXT = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
THERE = [0, 0, 60, 0, 40] + [0] * (LEVELS - 5)
ENDED = [0, 0, 60] + [0] * (LEVELS - 3)
STATE = 3000
CHANCES = hazard_of(THERE, ENDED, [PRIOR] * LEVELS, COARSER_WEIGHT)
INDEX = [60 * index for index in index_of(CHANCES)]
"""Uses a minute."""


def table(first: str) -> list[list[str]]:
    """Cells of the rows of the table whose header begins with a word."""
    lines = iter(TEXT.splitlines())
    assert any(line.startswith(f"| {first} |") for line in lines), first
    assert next(lines).startswith("|---")
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def reckoned(term: str) -> float:
    """The left side of what the text writes: numbers, + x / and parentheses, nothing else."""
    sums = re.sub(r"(?<=[\d) ])x(?=[\d( ])", "*", term)
    assert re.fullmatch(r"[\d.+*/() -]+", sums), term
    return float(eval(sums))  # nothing but arithmetic, see above


def agrees(printed: str, *numbers: float) -> None:
    """Each number, rounded as far as the printed one is, is that."""
    places = len(printed.partition(".")[2])
    for number in numbers:
        assert f"{number:.{places}f}" == printed, (number, printed)


def holds(line: str, code: float) -> str:
    """`term = result` follows from what the line prints, and is the code's; returns the result."""
    term, _, result = line.partition(" = ")
    printed = result.split()[0]
    agrees(printed, reckoned(term), code)
    return printed


class Level(NamedTuple):
    """A row of the life table: numbers as printed."""

    width: int
    reached: int
    ended: int
    chance: str
    waits: str


def levels() -> list[Level]:
    return [
        Level(int(row[2]), int(row[3]), int(row[4]), row[6].split(" = ")[1], row[7])
        for row in table("level")
    ]


def test_the_life_table() -> None:
    rows, read = table("level"), levels()
    assert [int(row[0]) for row in rows] == list(range(7))
    starts = [edge // 1000 for edge in EDGES]
    after = [*[level.reached for level in read[1:]], 0]
    for number, (row, level) in enumerate(zip(rows, read, strict=True)):
        assert row[1] == f"{starts[number]}\N{EN DASH}{starts[number + 1]}"
        assert level.width == starts[number + 1] - starts[number] == WIDTHS[number]
        assert level.reached == sum(THERE[number:])
        assert level.ended == ENDED[number]
        exposed = (level.reached + level.ended + after[number]) / 2
        assert float(row[5]) == exposed
        holds(row[6], CHANCES[number])
        over, _, weight = row[6].split(" = ")[0].partition(" / ")
        assert float(over) == pytest.approx(level.ended + COARSER_WEIGHT * PRIOR)
        assert float(weight) == exposed + COARSER_WEIGHT
        chance, waits = float(level.chance), float(level.waits)
        exact = (1 - CHANCES[number] / 2) * WIDTHS[number]
        agrees(level.waits, level.width * (1 - chance / 2), exact)
        agrees(row[8], 60 * chance / waits, 60 * CHANCES[number] / exact)


def lines(name: str) -> list[str]:
    """What the text reckons under a name, in its order."""
    return re.findall(rf"^    {name} +(.*)$", TEXT, re.MULTILINE)


def test_the_best_bargain() -> None:
    """The lines are made of the table's numbers, and the index is what the code says."""
    read, alone = levels(), [float(row[8]) for row in table("level")]
    chance, waits = [level.chance for level in read], [level.waits for level in read]
    past = ["1", *re.findall(r"(?:1 - 0\.0059|0\.9941 x 0\.9941) = (0\.\d+)", TEXT)]
    agrees(past[1], 1 - float(chance[0]))
    agrees(past[2], float(past[1]) * (1 - float(chance[1])))
    first, second = CHANCES[0], CHANCES[2]
    alive = 1 - first
    exact = [(1 - c / 2) * w for c, w in zip(CHANCES, WIDTHS, strict=True)]
    wanted = [
        (first + alive * first + alive**2 * second,
         exact[0] + alive * exact[1] + alive**2 * exact[2]),
        (first + alive * second, exact[1] + alive * exact[2]),
    ]  # fmt: skip
    for start, (uses, seconds) in enumerate(wanted):
        for name, column, number in (("uses", chance, uses), ("seconds", waits, seconds)):
            terms = [column[start]]
            terms += [f"{past[i]} x {column[start + i]}" for i in range(1, 3 - start)]
            line = lines(name)[start]
            assert line.partition("=")[0].strip() == " + ".join(terms)
            holds(re.sub(" +=", " =", line), number)
        line = re.sub(" +=", " =", lines("index")[start])
        parts = [lines(name)[start].split("= ")[1] for name in ("uses", "seconds")]
        assert line.startswith(f"60 x {parts[0]} / {parts[1]} = ")
        printed = float(holds(line, INDEX[start]))
        # Neither giving up earlier nor waiting longer pays.
        assert alone[start] < printed
        assert all(later < printed for later in alone[3:])
    assert alone[2] > alone[3] > alone[4] > alone[5] > alone[6]
    for number in range(2, 7):
        agrees(table("level")[number][8], INDEX[number])
    agrees("0.25", INDEX[7] / INDEX[6], INDEX[8] / INDEX[7])


AGES = {5: 4, 100: 5}
"""Columns of the leaves' table, by seconds of age."""


def scores_said(leaf: int, age: int) -> float:
    """The printed score of X or Y at an age; it follows from what stands before it."""
    row = table("leaf")[leaf]
    tokens, frees = int(row[1]), int(row[2])
    assert frees == tokens + STATE
    agrees(row[3], tokens / frees)
    index = {5: lines("index")[1].split("= ")[1].split()[0], 100: table("level")[3][8]}[age]
    cell = row[AGES[age]]
    assert cell.startswith(f"{index} x {row[3]} = ")
    level = {5: 1, 100: 3}[age]
    return float(holds(cell, INDEX[level] * tokens / frees))


def grown(policy: Joint, name: int, tokens: int, at: int) -> Node:
    """A leaf with a state, of a request that came at `at` milliseconds."""
    tree = TREE[policy]
    key = Key(array("q", [name] * tokens).tobytes())
    policy.began(tree, name, key, at, None)
    pages = Runs([(1000 * name, tokens // 64)])
    node = tree.insert(key, pages, owned_from=0, state=name).node
    policy.published(tree, name, node)
    policy.ended(tree, name)
    return node


TREE: dict[Joint, RadixTree] = {}


@pytest.mark.parametrize(("x_age", "y_age", "goes"), [(5, 5, "y"), (100, 5, "x"), (100, 100, "y")])
def test_the_two_leaves(x_age: int, y_age: int, goes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The example's life table in place of what two spells would teach.
    monkeypatch.setattr("cachepawl.policy.joint.survival.index_of", lambda chances: INDEX)
    policy, tree = Joint(), RadixTree(64)
    TREE[policy] = tree
    policy.serve(tree, 1.0, STATE)
    births = sorted([(200_000 - 1000 * x_age, 1, 16384), (200_000 - 1000 * y_age, 2, 1024)])
    nodes = {name: grown(policy, name, tokens, at) for at, name, tokens in births}
    policy.began(tree, 3, Key(array("q", [3] * 64).tobytes()), 200_000, None)
    units = [policy.units.of(nodes[1]), policy.units.of(nodes[2])]
    scores = scores_said(0, x_age), scores_said(1, y_age)
    assert tuple(policy.worth(unit) for unit in units) == pytest.approx(scores, abs=0.0005)
    said = rf"^- X is {x_age} s old and Y {y_age} s: {goes.upper()} goes"
    (told,) = re.findall(said + r"(?: \((\S+) against (\S+)\))?", TEXT, re.MULTILINE)
    assert told in (("", ""), tuple(f"{score:g}" for score in scores))
    victim = policy.victim(tree)
    assert victim is not None
    assert victim.node is nodes[1 if goes == "x" else 2]
    assert victim.kind == "kv"
