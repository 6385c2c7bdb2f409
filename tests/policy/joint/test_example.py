"""The example of docs/policy.md, number by number."""

from __future__ import annotations

from array import array
from pathlib import Path

import pytest

from cachepawl.policy.joint import Joint
from cachepawl.policy.joint.ages import LEVELS
from cachepawl.policy.joint.survival import COARSER_WEIGHT, PRIOR, hazard_of, index_of
from cachepawl.tree import Node, RadixTree
from cachepawl.types import Key, Runs

PAGE_OF_DOCS = Path(__file__).parents[3] / "docs" / "policy.md"
THERE = [0, 0, 60, 0, 40] + [0] * (LEVELS - 5)
ENDED = [0, 0, 60] + [0] * (LEVELS - 3)
STATE = 3000
CHANCES = hazard_of(THERE, ENDED, [PRIOR] * LEVELS, COARSER_WEIGHT)
INDEX = [60 * index for index in index_of(CHANCES)]
"""Uses a minute."""


def said(number: float) -> None:
    """The number, to four places, is in the text."""
    assert f"{number:.4f}" in PAGE_OF_DOCS.read_text(), number


def test_the_life_table() -> None:
    assert [round(chance, 4) for chance in CHANCES[:4]] == [0.0059, 0.0059, 0.5615, 0.0133]
    for number in (*CHANCES[:4], *INDEX[:4]):
        said(number)
    first, third = CHANCES[0], CHANCES[2]
    uses = first + (1 - first) * first + (1 - first) ** 2 * third
    seconds = (1 - first / 2) * (4 + (1 - first) * 12) + (1 - first) ** 2 * (1 - third / 2) * 48
    said(uses)
    said(seconds)
    assert 60 * uses / seconds == pytest.approx(INDEX[0])


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


@pytest.mark.parametrize(
    ("x_age", "y_age", "goes", "scores"),
    [
        (5, 5, "y", (0.6181, 0.1861)),
        (100, 5, "x", (0.0035, 0.1861)),
        (100, 100, "y", (0.0035, 0.0011)),
    ],
)
def test_the_two_leaves(
    x_age: int,
    y_age: int,
    goes: str,
    scores: tuple[float, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The example's life table in place of what two spells would teach.
    monkeypatch.setattr("cachepawl.policy.joint.survival.index_of", lambda chances: INDEX)
    policy, tree = Joint(), RadixTree(64)
    TREE[policy] = tree
    policy.serve(tree, 1.0, STATE)
    births = sorted([(200_000 - 1000 * x_age, 1, 16384), (200_000 - 1000 * y_age, 2, 1024)])
    nodes = {name: grown(policy, name, tokens, at) for at, name, tokens in births}
    policy.began(tree, 3, Key(array("q", [3] * 64).tobytes()), 200_000, None)
    units = [policy.units.of(nodes[1]), policy.units.of(nodes[2])]
    assert tuple(round(unit.score, 4) for unit in units) == scores
    for score in scores:
        said(score)
    victim = policy.victim(tree)
    assert victim is not None
    assert victim.node is nodes[1 if goes == "x" else 2]
    assert victim.kind == "kv"
