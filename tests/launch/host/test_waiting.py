"""The queue without those that wait, and back in order, whatever SGLang did to it meanwhile."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cachepawl_launch.host.waiting import join, split


def names(reqs: list[Any]) -> list[str]:
    return [req.rid for req in reqs]


def queue_of(rids: str) -> list[Any]:
    return [SimpleNamespace(rid=rid) for rid in rids]


def test_in_order_with_newcomers_behind() -> None:
    before = queue_of("abcdef")
    ready, waiting = split(before, lambda req: req.rid in "ace")
    assert (names(ready), names(waiting)) == (["b", "d", "f"], ["a", "c", "e"])
    new = SimpleNamespace(rid="n")
    after = [ready[2], ready[1], new]  # sorted otherwise; b was admitted
    assert names(join(before, after, waiting)) == ["a", "c", "d", "e", "f", "n"]


def test_where_nobody_waits_the_order_is_sglangs() -> None:
    before = queue_of("abc")
    assert names(join(before, before[::-1], [])) == ["c", "b", "a"]


@given(st.lists(st.sampled_from(("waits", "admitted", "stays")), max_size=12), st.integers(0, 3))
def test_nobody_is_lost_or_doubled(fates: list[str], new: int) -> None:
    before: list[Any] = [SimpleNamespace(rid=str(i), fate=fate) for i, fate in enumerate(fates)]
    ready, waiting = split(before, lambda req: req.fate == "waits")
    came = [SimpleNamespace(rid=f"new{i}", fate="stays") for i in range(new)]
    after = [req for req in ready if req.fate != "admitted"] + came
    whole = join(before, after, waiting)
    assert whole == [req for req in before if req.fate != "admitted"] + came
