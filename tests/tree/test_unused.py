"""`unlock_unused`: a lock that was no use leaves no trace in the order of eviction."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from cachepawl.policy.base import evict
from cachepawl.policy.lru import LRU
from cachepawl.tree import RadixTree
from cachepawl.tree.lru import LOOKS
from cachepawl.types import Key, Runs

PAGE = 2


def key(text: str) -> Key:
    return Key(array("q", [ord(letter) for letter in text for _ in range(PAGE)]).tobytes())


class Small:
    """A tree of prompts of a letter a page."""

    def __init__(self) -> None:
        self.tree = RadixTree(PAGE)
        self._pages = 0

    def put(self, text: str, *, state: bool = True) -> None:
        tree, what = self.tree, key(text)
        known = tree.peek(what).kv_len
        count = len(text) - known // PAGE
        pages = Runs([(self._pages, count)])
        self._pages += count + 1
        slot = None
        if state and tree.peek(what).usable_len < len(text) * PAGE:
            slot = self._pages
        tree.insert(what, pages, owned_from=known, state=slot)

    def orders(self) -> tuple[list[str], list[str]]:
        return (
            [self.name(node) for node in self.tree.kv_list],
            [self.name(node) for node in self.tree.state_list],
        )

    def name(self, node: object) -> str:
        return "".join(map(chr, array("q", self.tree.path_key(node).tokens)[::PAGE]))  # type: ignore[arg-type]


TEXTS = st.text("abc", min_size=1, max_size=6)
STEPS = st.lists(st.tuples(TEXTS, st.booleans(), st.integers(0, 4)), min_size=1, max_size=25)


@given(STEPS, TEXTS, st.booleans())
def test_order_is_as_before(steps: list[tuple[str, bool, int]], text: str, keep: bool) -> None:
    small = Small()
    tree = small.tree
    for where, state, what in steps:
        small.put(where, state=state)
        if what == 1:
            tree.match(key(where[:2]))
        if what == 2 and (victim := LRU.victim(tree)) is not None:
            evict(tree, victim)
    tree.check(2)
    node = tree.match(key(text)).deepest
    before = small.orders()
    sizes = tree.full_evictable, tree.state_evictable
    receipt = tree.lock(node).receipt if keep else tree.lock_path(node).receipt
    tree.unlock_unused(receipt)
    tree.check(2)
    cold = node is not tree.root and not node.kv_stamp
    after = small.orders()
    if cold:  # is put behind the other cold ones
        before[0].remove(small.name(node)), after[0].remove(small.name(node))
    assert sorted(after[0]) == sorted(before[0])
    assert after[1] == before[1]
    stamps = [other.kv_stamp for other in tree.kv_list]
    assert stamps == sorted(stamps, reverse=True)
    assert (tree.full_evictable, tree.state_evictable) == sizes


@given(STEPS, TEXTS, TEXTS, STEPS)
def test_uses_in_between_count(
    steps: list[tuple[str, bool, int]], held: str, other: str, more: list[tuple[str, bool, int]]
) -> None:
    """Whatever happens under the lock, lists are in order afterwards."""
    small = Small()
    tree = small.tree
    for where, state, _ in steps:
        small.put(where, state=state)
    receipts = [tree.lock(tree.match(key(text)).deepest).receipt for text in (held, other)]
    for where, state, what in more:
        small.put(where, state=state)
        if what == 1 and (victim := LRU.victim(tree)) is not None:
            evict(tree, victim)
        if what == 2:
            mine = tree.lock_path(tree.match(key(where)).deepest).receipt
            (tree.unlock if state else tree.unlock_unused)(mine)
        tree.check(2)
    for receipt in receipts:
        tree.unlock_unused(receipt)
        tree.check(2)


def test_a_use_meanwhile_counts() -> None:
    small = Small()
    for text in "abcd":
        small.put(text)
    tree = small.tree
    receipt = tree.lock(tree.peek(key("a")).deepest).receipt
    tree.match(key("a"))
    tree.match(key("b"))
    tree.unlock_unused(receipt)
    assert small.orders() == (["b", "a", "d", "c"], ["b", "a", "d", "c"])


def test_far_from_the_end_it_becomes_the_newest() -> None:
    small = Small()
    letters = [chr(ord("A") + i) for i in range(LOOKS + 10)]
    for text in letters:
        small.put(text)
    tree = small.tree
    for text, newest in ((letters[5], False), (letters[LOOKS + 2], True)):
        before = small.orders()
        tree.unlock_unused(tree.lock(tree.peek(key(text)).deepest).receipt)
        assert (small.orders() == before) != newest
        assert (small.orders()[0][0] == text) == newest
        tree.check(2)
