"""Where others are likely to leave a prompt."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachepawl_launch.marks import PARAMETER, Marks, aligned_find

IDS = st.lists(st.sampled_from([0, 1, 2, 256, 1 << 56]), max_size=12)
"""Ids whose bytes look alike at other offsets."""


def raw(ids: list[int]) -> bytes:
    return array("q", ids).tobytes()


@given(IDS, IDS.filter(bool))
def test_the_first_place(ids: list[int], wanted: list[int]) -> None:
    n = len(wanted)
    places = [i for i in range(len(ids) - n + 1) if ids[i : i + n] == wanted]
    assert aligned_find(raw(ids), raw(wanted)) == (places[0] if places else -1)


def test_after_the_opening_of_the_first_turn() -> None:
    marks = Marks((3, 9))
    assert marks.of(raw([3, 5, 3, 9, 7, 3, 9]), None) == [4]
    assert marks.of(raw([3, 5, 3]), {}) == []
    assert Marks(()).of(raw([3, 9]), None) == []


@pytest.mark.parametrize(("named", "found"), [(3, [3]), ([4, 2], [2, 4]), ([], [])])
def test_what_the_client_names_goes_first(named: Any, found: list[int]) -> None:
    assert Marks((1,)).of(raw([1, 1, 1, 1]), {PARAMETER: named}) == found


@pytest.mark.parametrize("named", [0, -1, 5, True, 1.5, "3", [2, "3"], {"a": 1}, [None]])
def test_nonsense_is_counted(named: Any) -> None:
    marks = Marks((1,))
    assert marks.of(raw([1, 1, 1, 1]), {PARAMETER: named}) == []
    assert marks.refused == 1
