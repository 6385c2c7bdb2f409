"""The model of two ends, step by step beside SGLang's own unified pool."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from sglang.srt.mem_cache.allocator import unified_sub_pool

from benchmarks.capacity.ends import End, Ends
from benchmarks.capacity.play import Played, play
from benchmarks.capacity.sglang_ends import SglangEnds, small
from benchmarks.capacity.two_ends import TwoEnds
from benchmarks.capacity.workload import Arrival
from benchmarks.sglang_tree import sglang_context
from cachepawl.pool.geometry import Geometry

BUDGET = 20_004


class Beside(Ends):
    """The model; after every step SGLang's pool has to be as it says, place by place."""

    def __init__(self, geometry: Geometry, budget: int) -> None:
        self.theirs = SglangEnds(geometry, budget)
        super().__init__(geometry, budget)
        assert self.budget == self.theirs.budget
        self.name_of = {self.kv: self.theirs.kv, self.states: self.theirs.states}
        self.virtual: dict[End, dict[int, int]] = {self.kv: {}, self.states: {}}
        self.mixed = 0
        """Allocations of both holes and fresh places."""

    def take(self, end: End, count: int) -> list[int]:
        self.mixed += 0 < len(end.holes) < count
        ids = super().take(end, count)
        self.virtual[end].update(zip(ids, self.theirs.take(self.name_of[end], count), strict=True))
        self.check()
        return ids

    def give(self, end: End, ids: list[int]) -> None:
        super().give(end, ids)
        self.theirs.give(self.name_of[end], [self.virtual[end].pop(one) for one in ids])
        self.check()

    def check(self) -> None:
        theirs = self.theirs
        gap = self.budget - self.kv.bytes_spanned - self.states.bytes_spanned
        for end, name in self.name_of.items():
            ids, virtual = list(self.virtual[end]), list(self.virtual[end].values())
            assert [end.place_of[one] for one in ids] == theirs.places_of(name, virtual)
            assert len(end.place_of) == len(ids)
            assert (end.frontier, end.holes) == (theirs.frontier(name), theirs.holes(name))
            assert len(end.holes) + gap // end.unit == theirs.room(name, packing=False)
            room = theirs.room(name)
            assert self.fits(end, room)
            assert not self.fits(end, room + 1)
        assert self.free_bytes() == theirs.free_bytes()
        assert self.bytes_moved == theirs.bytes_moved
        assert self.worst_burst_bytes == theirs.worst_burst_bytes
        assert theirs.pool.verify_byte_accounting() == []


class Nothing:
    """Stands for a kernel that numbers the tokens of pages; which pages, the allocator decides."""

    def __getitem__(self, grid: object) -> Callable[..., None]:
        return lambda *_: None


@pytest.fixture(params=[1, 2, 16])
def page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    for kernel in ("alloc_extend_kernel", "alloc_decode_kernel"):
        assert hasattr(unified_sub_pool, kernel)
        monkeypatch.setattr(unified_sub_pool, kernel, Nothing())
    with sglang_context(request.param):
        yield request.param


def walk(ends: Ends, seed: int, steps: int = 400) -> None:
    """Prompts at once, answers side by side, some pages and states given back, or all of one."""
    draw = random.Random(seed)
    both = ends.kv, ends.states
    held: list[tuple[list[int], list[int]]] = []
    for _ in range(steps):
        verb = draw.choice(("prompt", "prompt", "decode", "decode", "trim", "end"))
        if verb == "prompt":
            held.append(([], []))
            counts = draw.randint(1, BUDGET // ends.kv.unit // 3), draw.randint(1, 3)
            for end, ids, count in zip(both, held[-1], counts, strict=True):
                if ends.fits(end, count):
                    ids += ends.take(end, count)
        elif verb == "decode" and held and ends.fits(ends.kv, len(held)):
            for (pages, _), page in zip(held, ends.take(ends.kv, len(held)), strict=True):
                pages.append(page)
        elif held:
            one = held.pop(draw.randrange(len(held)))
            for end, ids in zip(both, one, strict=True):
                draw.shuffle(ids)
                kept = 0 if verb == "end" else draw.randint(0, len(ids))
                ends.give(end, ids[kept:])
                del ids[kept:]
            if verb != "end":
                held.append(one)


@pytest.mark.parametrize("seed", range(3))
def test_every_step_is_sglangs(page: int, seed: int) -> None:
    ends = Beside(small(page), BUDGET)
    walk(ends, seed)
    assert ends.mixed > 5
    assert all(a._stats_n_flush_moves > 5 for a in ends.theirs.allocators.values())


def played(page: int, ends: Callable[[Geometry, int], Ends], *, keep: bool) -> tuple[Played, Ends]:
    draw, long = random.Random(page), 96 // page
    some = [Arrival(n, draw.choice((1, 2, long)), draw.choice((1, 3))) for n in range(150)]
    layout = TwoEnds(small(page), BUDGET, ends)
    return play(layout, some, BUDGET, keep=keep), layout.ends


@pytest.mark.parametrize("keep", [False, True])
def test_the_workload_is_played_as_sglang_would(page: int, keep: bool) -> None:
    in_step, ends = played(page, Beside, keep=keep)
    alone, theirs = played(page, SglangEnds, keep=keep)
    assert in_step == alone
    assert ends.bytes_moved == theirs.bytes_moved > 0
    assert ends.worst_burst_bytes == theirs.worst_burst_bytes


class Idle(SglangEnds):
    packs_early = True


def test_packing_at_idle_moments_moves_more(page: int) -> None:
    in_step, ends = played(page, Beside, keep=True)
    idle, theirs = played(page, Idle, keep=True)
    assert idle == in_step
    assert theirs.bytes_moved > ends.bytes_moved


class Forward:
    """A forward that never ends, and the stream that is told to wait for it."""

    def __init__(self) -> None:
        self.waits = 0

    def query(self) -> bool:
        return False

    def wait_event(self, event: object) -> None:
        self.waits += 1


def test_a_running_forward_costs_a_wait_and_no_move(
    page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Forward()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: forward)
    ends = Beside(small(page), BUDGET)
    ends.theirs.pool.set_latest_forward_done_event(forward)
    ends.theirs.pool.set_inflight_forward(forward, torch.tensor([page]))
    walk(ends, 0)
    assert forward.waits > 5


def packs_itself(self: Ends, end: End, count: int) -> list[int]:
    end.pack()
    return end.take(count)


def takes_what_came_first(self: End, count: int) -> list[int]:
    taken, self.holes = self.holes[:count], self.holes[count:]
    return taken


def forgets_holes(self: End) -> int:
    return 0


@pytest.mark.parametrize(
    ("owner", "name", "wrong"),
    [
        (Ends, "take", packs_itself),
        (End, "_from_holes", takes_what_came_first),
        (End, "pack", forgets_holes),
    ],
)
@pytest.mark.parametrize("page", [2], indirect=True)
def test_a_wrong_model_is_found(
    page: int, owner: type, name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, wrong)
    with pytest.raises(AssertionError):
        walk(Beside(small(page), BUDGET), 0)
