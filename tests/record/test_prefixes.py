"""Keys through the writer's bounded memory and the reader's: what was equal is equal."""

from __future__ import annotations

from array import array
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cachepawl.offline.recorded.paths import Paths, Place
from cachepawl.record.hashes import make_salt
from cachepawl.record.prefixes import OVERHEAD, KnownPrefixes
from cachepawl.types import Key

PAGE = 2
KEYS = st.tuples(st.lists(st.integers(0, 1), max_size=14), st.sampled_from([b"", b"x", b"y"]))


def tell(paths: Paths, lines: list[Any]) -> None:
    """What the reader does with structure lines."""
    for verb, *fields in lines:
        add = {"space": paths.add_space, "seg": paths.add_segment, "forget": paths.forget}
        add[verb](*fields)


def whole_pages(tokens: list[int]) -> int:
    return len(tokens) // PAGE


def shared_pages(one: list[int], other: list[int]) -> int:
    """Whole pages that two keys share from their start."""
    pages = 0
    for at in range(0, min(whole_pages(one), whole_pages(other)) * PAGE, PAGE):
        if one[at : at + PAGE] != other[at : at + PAGE]:
            break
        pages += 1
    return pages


def shared_tokens(one: Key, other: Key) -> int:
    a, b = array("q", one.tokens), array("q", other.tokens)
    same = 0
    while same < min(len(a), len(b)) and a[same] == b[same]:
        same += 1
    return same


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(KEYS, min_size=2, max_size=12), st.sampled_from([0, 3 * OVERHEAD, 1 << 20]))
def test_equality_survives(keys: list[tuple[list[int], bytes]], most: int) -> None:
    known, paths = KnownPrefixes(make_salt("s"), PAGE, most), Paths(PAGE)
    made: list[Key] = []
    for tokens, space in keys:
        lines: list[Any] = []
        place = known.place(array("q", tokens).tobytes(), space, lines)
        tell(paths, lines)
        made.append(paths.key(paths.place(*place)))
        assert len(made[-1].tokens) == 8 * len(tokens)
    for i, (one, space) in enumerate(keys):
        for j, (other, elsewhere) in enumerate(keys[:i]):
            pages = shared_pages(one, other) if space == elsewhere else 0
            found = shared_tokens(made[i], made[j]) // PAGE
            # Tokens beyond whole pages are all alike; the cache does not look at them.
            assert min(found, whole_pages(one), whole_pages(other)) == pages
            assert (made[i].namespace == made[j].namespace) == (space == elsewhere)


def test_memory_is_bounded() -> None:
    """It forgets as a whole, tells so, and goes on."""
    known, paths, forgot = KnownPrefixes(make_salt("s"), PAGE, 20_000), Paths(PAGE), 0
    for i in range(400):
        lines: list[Any] = []
        place = known.place(array("q", [i] * 40).tobytes(), b"", lines)
        forgot += ["forget"] in lines
        tell(paths, lines)
        paths.place(*place)
        assert len(paths._segments) < 40
    assert forgot > 10


def test_a_place_stays_good_when_it_is_forgotten() -> None:
    paths = Paths(PAGE)
    tell(paths, [["space", 0, ""], ["seg", 1, 0, 0, "AAAAAAAAAAAAAAAB"]])
    place: Place = paths.place(1, 2, 1)
    before = paths.key(place)
    paths.forget()
    assert paths.key(place) == before
    assert len(before.tokens) == 5 * 8
