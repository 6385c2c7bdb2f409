"""Page hashes against the documented framing, written out; namespaces; bigrams."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from array import array
from itertools import count, pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachepawl.errors import UnknownNode
from cachepawl.tree import Node, RadixTree
from cachepawl.types import BIGRAM_BYTES, NO_PAGES, Key, Runs, bigrams, namespace_of

TOKENS = st.lists(st.sampled_from([0, 1, -1, 2**40]), max_size=24)


def key(tokens: list[int], namespace: bytes = b"") -> Key:
    return Key(array("q", tokens).tobytes(), namespace)


def plain(tokens: list[int], page: int, namespace: bytes = b"", words: int = 1) -> list[bytes]:
    """The documented framing, one integer at a time; `words` integers a token."""

    def number(value: int) -> bytes:
        return (value % 2**64).to_bytes(8, "little")

    seed = b"cachepawl page hash 1\0" + number(page) + number(8 * words)
    seed += number(len(namespace)) + namespace
    hashes = [hashlib.sha256(seed).digest()]
    step = page * words
    for at in range(0, len(tokens) - step + 1, step):
        framed = b"".join(number(token) for token in tokens[at : at + step])
        hashes.append(hashlib.sha256(hashes[-1] + framed).digest())
    return hashes[1:]


def put(tree: RadixTree, what: Key, ids: count[int]) -> Node:
    """Insert the whole pages of a key."""
    size = tree.page_tokens * tree.token_bytes
    many = len(what.tokens) // size
    full = Runs.of_pages(next(ids) for _ in range(many)) if tree.has_full else NO_PAGES
    whole = Key(what.tokens[: many * size], what.namespace)
    return tree.insert(whole, full, owned_from=0, state=None).node


def path_hashes(tree: RadixTree, node: Node) -> list[bytes]:
    """Hashes from the root down, asked for from the end up."""
    parts = []
    while node.parent is not None:
        parts.append(tree.page_hashes(node))
        node = node.parent
    joined = b"".join(reversed(parts))
    return [joined[at : at + 32] for at in range(0, len(joined), 32)]


def test_the_framing_is_what_it_says() -> None:
    # Fixed values: a hash that other processes know by name must never change.
    tree = RadixTree(2)
    got = tree.page_hashes(put(tree, key([1, 2, 3, 4], b"ns"), count()))
    seed = hashlib.sha256(
        b"cachepawl page hash 1\0"
        + b"\2\0\0\0\0\0\0\0" + b"\10\0\0\0\0\0\0\0" + b"\2\0\0\0\0\0\0\0" + b"ns"
    ).digest()  # fmt: skip
    first = hashlib.sha256(seed + b"\1" + bytes(7) + b"\2" + bytes(7)).digest()
    second = hashlib.sha256(first + b"\3" + bytes(7) + b"\4" + bytes(7)).digest()
    assert got == first + second


def test_nothing_to_hash() -> None:
    tree = RadixTree(4)
    assert tree.page_hashes(tree.root) == b""
    node = put(tree, key([1, 2, 3, 4]), count())
    with pytest.raises(UnknownNode):
        RadixTree(4).page_hashes(node)
    tree.evict_kv(node)
    with pytest.raises(UnknownNode):
        tree.page_hashes(node)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    page=st.sampled_from([1, 2, 4]),
    has_full=st.booleans(),
    keys=st.lists(
        st.tuples(TOKENS, st.sampled_from([b"", b"x", bytes(8)]), st.booleans()),
        min_size=1,
        max_size=8,
    ),
    asked=st.lists(st.integers(0, 20), max_size=8),
)
def test_neither_order_nor_splits_enter(
    page: int, has_full: bool, keys: list[tuple[list[int], bytes, bool]], asked: list[int]
) -> None:
    tree, ids = RadixTree(page, has_full=has_full), count()
    for tokens, namespace, at_once in keys:
        node = put(tree, key(tokens, namespace), ids)
        if at_once:  # before later keys split it
            tree.page_hashes(node)
    nodes = list(tree.walk())
    for which in asked:
        if nodes:
            tree.page_hashes(nodes[which % len(nodes)])
    tree.check(2)
    for tokens, namespace, _ in keys:
        node = tree.peek(key(tokens, namespace)).deepest
        assert path_hashes(tree, node) == plain(tokens, page, namespace)
    tree.check(2)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(one=TOKENS, other=TOKENS, page=st.sampled_from([1, 2, 4]))
def test_a_hash_names_a_prefix(one: list[int], other: list[int], page: int) -> None:
    tree, ids = RadixTree(page), count()
    first = path_hashes(tree, put(tree, key(one), ids))
    second = path_hashes(tree, put(tree, key(other), ids))
    for n in range(len(first)):
        for m in range(len(second)):
            same = one[: (n + 1) * page] == other[: (m + 1) * page]
            assert (first[n] == second[m]) == same


def test_namespace_page_size_and_position_matter() -> None:
    tokens = [7] * 8
    seen: set[bytes] = set()
    pages = 0
    for page, namespace in product([1, 2, 4, 8], [b"", b"\0", b"x", bytes(8)]):
        tree = RadixTree(page)
        hashes = path_hashes(tree, put(tree, key(tokens, namespace), count()))
        seen |= set(hashes)
        pages += len(hashes)
    wide = RadixTree(1, token_bytes=BIGRAM_BYTES)
    hashes = path_hashes(wide, put(wide, key(tokens), count()))
    assert hashes == plain(tokens, 1, words=2)
    assert len(seen | set(hashes)) == pages + 4


PROGRAM = """
from array import array
from cachepawl.tree import RadixTree
from cachepawl.types import Key, Runs, namespace_of
tree = RadixTree(4)
key = Key(array("q", range(40)).tobytes(), namespace_of("key", "salt", None))
node = tree.insert(key, Runs([(3, 10)]), owned_from=0, state=None).node
print(tree.page_hashes(node).hex())
"""


def test_the_same_in_another_process() -> None:
    out = set()
    for seed in ("0", "1", "4711"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True
        )
        out.add(done.stdout.strip())
    here = plain(list(range(40)), 4, namespace_of("key", "salt", None))
    assert out == {b"".join(here).hex()}


# Namespaces

PARTS = st.none() | st.text(st.characters() | st.sampled_from("\0\1\2ab\ud800\udfff"), max_size=3)
TRIPLES = st.tuples(PARTS, PARTS, PARTS)


def meant(triple: tuple[str | None, ...]) -> tuple[str | None, ...]:
    """An empty part sets nothing apart, like one that is not given."""
    return tuple(part or None for part in triple)


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(one=TRIPLES, other=TRIPLES)
def test_no_two_triples_share_a_namespace(
    one: tuple[str | None, ...], other: tuple[str | None, ...]
) -> None:
    assert (namespace_of(*one) == namespace_of(*other)) == (meant(one) == meant(other))


def test_no_two_of_all_short_triples_share_a_namespace() -> None:
    parts = (None, "a", "b", "aa", "ab", "\0", "\1", "\1\1", "\1" + "\0" * 7, "é", "\udce9", "\0a")
    # Parts that imitate the frame of another.
    parts += (namespace_of("a", None).decode(), namespace_of(None, "a", "b").decode())
    all_of_them = list(product(parts, repeat=3))
    assert len({namespace_of(*triple) for triple in all_of_them}) == len(all_of_them)
    assert namespace_of(None, None) == namespace_of("", "", "") == b""


# Bigrams


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(tokens=TOKENS)
def test_bigrams_are_overlapping_pairs(tokens: list[int]) -> None:
    pairs = array("q", bigrams(array("q", tokens).tobytes()))
    assert list(zip(pairs[0::2], pairs[1::2], strict=True)) == list(pairwise(tokens))
    assert len(pairs) * 8 == max(len(tokens) - 1, 0) * BIGRAM_BYTES


def test_a_tree_of_bigrams() -> None:
    # The last page differs already where the token after it does.
    tree = RadixTree(2, token_bytes=BIGRAM_BYTES, has_states=False)

    def pairs(*tokens: int) -> Key:
        return Key(bigrams(array("q", tokens).tobytes()))

    node = tree.insert(pairs(1, 2, 3, 4, 5), Runs([(1, 2)]), owned_from=0, state=None).node
    assert node.end == 4
    assert tree.match(pairs(1, 2, 3, 4, 5, 6)).usable_len == 4
    assert tree.match(pairs(1, 2, 3, 4, 9)).usable_len == 2
    assert tree.match(pairs(1, 2, 9)).usable_len == 0
    assert path_hashes(tree, node) == plain([1, 2, 2, 3, 3, 4, 4, 5], 2, words=2)
    tree.check(2)
