"""Each check sees the damage that it is for, names the rule, and draws the tree."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import pytest

from cachepawl.errors import InvariantError
from cachepawl.tree import Node, RadixTree
from cachepawl.types import Key, Runs


def key(*tokens: int) -> Key:
    return Key(array("q", tokens).tobytes())


class Grown:
    """root - stem [0, 8) - a [8, 16) with a state, b [8, 16) locked, c [8, 12) cold."""

    def __init__(self) -> None:
        self.tree = tree = RadixTree(4)
        stem = range(8)
        tree.insert(key(*stem, *range(20, 28)), Runs([(1, 4)]), owned_from=0, state=1)
        tree.insert(key(*stem, *range(30, 38)), Runs([(11, 4)]), owned_from=0, state=2)
        tree.insert(key(*stem, *range(40, 44)), Runs([(21, 3)]), owned_from=0, state=None)
        tree.insert(key(*range(50, 58)), Runs([(31, 2)]), owned_from=0, state=3)
        self.stem, self.a, self.b, self.c, self.d = list(tree.walk())
        tree.lock(self.b)
        tree.check(2)


def swap(node: object, **values: object) -> None:
    for name, value in values.items():
        setattr(node, name, value)


def hang(grown: Grown, parent: Node, node: Node) -> None:
    parent.children[b"elsewhere"] = node


def unlist_kv(grown: Grown) -> None:
    grown.tree.kv_list.remove(grown.a)


def relist(grown: Grown) -> None:
    grown.tree.kv_list.remove(grown.d)
    grown.tree.kv_list.put_cold(grown.d)


def swap_order(grown: Grown) -> None:
    grown.a.kv_stamp, grown.d.kv_stamp = grown.d.kv_stamp, grown.a.kv_stamp


def swap_state_order(grown: Grown) -> None:
    grown.a.state_stamp, grown.d.state_stamp = grown.d.state_stamp, grown.a.state_stamp


def parent_older(grown: Grown) -> None:
    # Equal stamps, wrong order; an older leaf keeps the tail a leaf.
    tree = RadixTree(4)
    tree.insert(key(*range(50, 58)), Runs([(11, 2)]), owned_from=0, state=9)
    tree.insert(key(*range(8)), Runs([(1, 2)]), owned_from=0, state=1)
    tree.insert(key(*range(12)), Runs([(3, 1)]), owned_from=8, state=2)
    _, parent, child = tree.walk()
    tree.kv_list.remove(child)
    tree.kv_list.put_warm(child, tree.clock)
    assert parent.kv_stamp == child.kv_stamp
    grown.tree = tree


def stranger(grown: Grown, *, kv: bool) -> None:
    other = Grown().d
    other.state = 77
    if kv:
        grown.tree.kv_list.put_warm(other, grown.tree.clock)
    else:
        grown.tree.state_list.put(other, grown.tree.clock)


def list_evicted_state(grown: Grown) -> None:
    gone = grown.d
    grown.tree.evict_kv(gone)
    grown.tree.state_list.put(gone, grown.tree.clock)


def kv_circle(grown: Grown) -> None:
    warm = grown.tree.kv_list.warm
    warm.kv_newer.kv_older = warm.kv_older


def moved_counts(grown: Grown) -> None:
    grown.tree.full_protected += grown.tree.full_evictable
    grown.tree.full_evictable = 0


def list_evicted(grown: Grown) -> None:
    newer = grown.a.kv_newer
    grown.tree.evict_kv(grown.a)
    grown.a.kv_newer, grown.a.kv_older = newer, newer.kv_older
    newer.kv_older.kv_newer = grown.a
    newer.kv_older = grown.a


def circle(grown: Grown) -> None:
    grown.a.state_older = grown.d
    grown.d.state_older = grown.a
    grown.a.state_newer, grown.d.state_newer = grown.d, grown.a
    head = grown.tree.state_list.head
    head.state_older = grown.d
    grown.d.state_newer = head


DAMAGE: list[tuple[str, Callable[[Grown], object]]] = [
    ("I2", lambda g: swap(g.stem, full_lock=0)),
    ("I2", lambda g: swap(g.stem, full_lock=2)),
    ("I3", lambda g: swap(g.b, full_lock=0)),
    ("I3", lambda g: swap(g.b, state_lock=-1)),
    ("I4", unlist_kv),
    ("I4", lambda g: g.tree.state_list.remove(g.d)),
    ("I4", lambda g: g.tree.kv_list.put_warm(g.b, g.tree.clock)),
    ("I4", lambda g: g.tree.state_list.put(g.b, g.tree.clock)),
    ("I4", relist),
    ("I4", swap_order),
    ("I4", parent_older),
    ("I4", lambda g: stranger(g, kv=True)),
    ("I4", lambda g: stranger(g, kv=False)),
    ("I4", list_evicted_state),
    ("I4", kv_circle),
    ("I4", swap_state_order),
    ("I4", moved_counts),
    ("I4", list_evicted),
    ("I4", circle),
    ("I4", lambda g: swap(g.c, kv_stamp=1)),
    ("I4", lambda g: swap(g.a, kv_stamp=0)),
    ("I4", lambda g: swap(g.a, kv_stamp=99)),
    ("I4", lambda g: swap(g.a, state_stamp=99)),
    ("I4", lambda g: swap(g.a, kv_newer=g.a)),
    ("I4", lambda g: swap(g.a, state_newer=g.a)),
    ("I4", lambda g: swap(g.tree.kv_list.warm, kv_newer=g.d)),
    ("I4", lambda g: swap(g.tree.state_list.head, state_newer=g.d)),
    ("I5", lambda g: swap(g.a, key=b"")),
    ("I5", lambda g: swap(g.a, key=g.a.key[:-8])),
    ("I5", lambda g: swap(g.a, end=20)),
    ("I5", lambda g: swap(g.a, pages=Runs([(1, 1)]))),
    ("I5", lambda g: setattr(g.tree, "has_states", False)),
    ("I5", lambda g: swap(g.tree.root, end=4)),
    ("I5", lambda g: setattr(g.tree, "full_evictable", 3)),
    ("I6", lambda g: setattr(g.tree, "full_evictable", g.tree.full_evictable + 4)),
    ("I6", lambda g: setattr(g.tree, "state_evictable", g.tree.state_evictable + 1)),
    ("I6", lambda g: setattr(g.tree, "state_protected", -1)),
    ("I6", lambda g: setattr(g.tree, "num_nodes", 4)),
    ("I6", lambda g: setattr(g.tree, "num_nodes", 40)),
    ("I7", lambda g: swap(g.a, state=g.d.state)),
    ("I7", lambda g: swap(g.a, pages=g.d.pages)),
    ("I9", lambda g: swap(g.a, hook=g.c.hook)),
    ("I9", lambda g: swap(g.a, key=g.b.key)),
    ("I9", lambda g: swap(g.a, parent=g.d)),
    ("I9", lambda g: hang(g, g.stem, g.a)),
    ("I9", lambda g: hang(g, g.a, g.stem)),
]


@pytest.mark.parametrize(("rule", "damage"), DAMAGE)
def test_damage_is_seen_and_named(rule: str, damage: Callable[[Grown], object]) -> None:
    grown = Grown()
    damage(grown)
    grown.tree.check(0)
    with pytest.raises(InvariantError, match=f"^{rule}: .*") as caught:
        grown.tree.check(2)
    assert "\ntree page 4, clock " in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda g: setattr(g.tree, "full_evictable", -4),
        lambda g: setattr(g.tree, "state_evictable", 0),
        lambda g: setattr(g.tree, "num_nodes", 0),
        lambda g: setattr(g.tree, "state_evictable", 9),
        lambda g: swap(g.c, full_lock=1),
        lambda g: swap(g.a, state=None),
        lambda g: swap(g.tree.root, full_lock=1),
    ],
)
def test_counters_alone_see(damage: Callable[[Grown], object]) -> None:
    grown = Grown()
    damage(grown)
    with pytest.raises(InvariantError):
        grown.tree.check(1)


def test_checks_change_nothing() -> None:
    grown = Grown()
    before = grown.tree.render(), [id(n) for n in grown.tree.kv_list]
    grown.tree.check(1)
    grown.tree.check(2)
    assert before == (grown.tree.render(), [id(n) for n in grown.tree.kv_list])
