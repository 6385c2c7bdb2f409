"""Bursts of prompts through pass after pass."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from passes import GRID, Job, Passes, make_stops

from cachepawl_launch.coming import MOST_WAITS

SYSTEM = 300
SHARED = SYSTEM // GRID * GRID


def chat(system: int, number: int, length: int = 50) -> Job:
    """A question under the system prompt of that number, which it names as its mark."""
    ids = [10_000 + system] * SYSTEM + [1000 * system + number] * length
    return Job(f"{system}/{number}", ids, [SYSTEM])


def run(jobs: list[Job], **more: object) -> Passes:
    passes = Passes(make_stops(), queue=list(jobs), **more)  # type: ignore[arg-type]
    passes.run()
    return passes


def test_a_new_system_prompt_is_computed_once() -> None:
    jobs = [chat(1, i) for i in range(20)]
    passes = run(jobs)
    assert [job.cached for job in jobs] == [0] + [SHARED] * 19
    assert passes.sizes[:2] == [SHARED, 20 * (350 - SHARED)]


def test_so_is_each_of_several_and_nobody_holds_others_up() -> None:
    """The first of each group begins in the first pass: one cut, the others with their snapshot
    at the mark, which is in the tree a forward later."""
    jobs = [chat(group, i) for i in range(4) for group in range(5)]
    passes = run(jobs)
    assert [job.cached for job in jobs] == [0] * 5 + [SHARED] * 15
    assert passes.sizes[0] == SHARED + 4 * 350
    assert passes.sizes[1] == 4 * (350 - SHARED)
    assert passes.sizes[2] == 12 * (350 - SHARED)


def test_prompts_of_their_own_are_not_serialised() -> None:
    jobs = [chat(i, 0) for i in range(20)]
    passes = run(jobs)
    assert passes.sizes[:2] == [SHARED + 19 * 350, 350 - SHARED]
    later = [chat(i, 1) for i in range(20)]
    passes.queue += later
    passes.run()
    assert [job.cached for job in later] == [SHARED] * 20


def test_a_system_prompt_of_several_chunks() -> None:
    jobs = [chat(1, i) for i in range(6)]
    passes = run(jobs, chunk=GRID + 32)
    assert jobs[0].cached == 0
    assert [job.cached for job in jobs[1:]] == [SHARED] * 5
    assert max(passes.sizes) <= GRID + 32


def test_what_begins_alike_need_not_have_a_mark() -> None:
    """The same prompt many times, as in sampling: all but one wait for the state at its end."""
    jobs = [Job(f"same/{i}", [7] * 300) for i in range(8)]
    run(jobs)
    assert [job.cached for job in jobs] == [0] + [SHARED] * 7


@settings(deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    grid=st.sampled_from([1, GRID]),
    chunk=st.sampled_from([100, 256, 1000]),
    late=st.integers(0, 2),
    shapes=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(1, 400)), max_size=12
    ),
)
def test_everybody_is_computed_and_nobody_waits_long(
    seed: int, grid: int, chunk: int, late: int, shapes: list[tuple[int, int, int]]
) -> None:
    """Whatever is aborted, finds no room for its state, or comes in between."""
    chance = random.Random(seed)
    passes = Passes(make_stops(grid), chunk, late, skipped=lambda: chance.random() < 0.3)
    everybody = [chat(*shape) for shape in shapes]
    for n, job in enumerate(everybody):
        job.rid = job.req.rid = str(n)
    arrivals = [(chance.randrange(6), job) for job in everybody]
    gone: list[Job] = []
    for now in range(6):
        passes.queue += [job for when, job in arrivals if when == now]
        passes.step()
        under_way = [job for when, job in arrivals if when <= now and not job.done]
        if under_way and chance.random() < 0.3:
            gone.append(chance.choice(under_way))
            passes.abort(gone[-1])
    passes.run(at_most=200)
    assert all(job.done for job in everybody if job not in gone)
    assert all(times <= MOST_WAITS for times in passes.waited.values())
    left = passes.stops.coming
    assert (left._prefixes, left._starts, left._waited) == ({}, {}, {})
