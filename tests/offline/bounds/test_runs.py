"""Runs against the plain set of prefixes of pages."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachepawl.offline.bounds.runs import ROOT, Runs, runs_of
from cachepawl.offline.traces import TraceRequest
from cachepawl.types import Key

IDS = st.lists(st.integers(0, 2), min_size=1, max_size=5)


@st.composite
def traces(draw: st.DrawFn) -> tuple[int, int, list[list[int]], list[bytes]]:
    """A block, a page, prompts of such blocks with a partial last one, and namespaces."""
    block, page = draw(st.sampled_from([(1, 1), (1, 3), (4, 4), (4, 2), (6, 3), (4, 8), (6, 4)]))
    prompts, namespaces = [], []
    for ids in draw(st.lists(IDS, min_size=1, max_size=8)):
        last = draw(st.integers(1, block))
        prompts.append([t for t in ids for _ in range(block)][: (len(ids) - 1) * block + last])
        namespaces.append(draw(st.sampled_from([b"", b"", b"x"])))
    return block, page, prompts, namespaces


def prefixes(prompt: list[int], page: int, namespace: bytes) -> list[tuple[bytes, ...]]:
    """Every page's prefix."""
    return [(namespace, *prompt[:end]) for end in range(page, len(prompt) + 1, page)]


@given(made=traces())
def test_runs_are_the_pages_that_go_together(made) -> None:
    block, page, prompts, namespaces = made
    requests = [
        TraceRequest(0.0, Key(array("q", p).tobytes(), n), 1, "")
        for p, n in zip(prompts, namespaces, strict=True)
    ]
    runs = runs_of(requests, block, page)
    assert runs.tokens == [len(p) for p in prompts]
    pages = [prefixes(p, page, n) for p, n in zip(prompts, namespaces, strict=True)]
    users: dict[tuple, set[int]] = {}
    for request, own in enumerate(pages):
        for prefix in own:
            users.setdefault(prefix, set()).add(request)
    named: dict[tuple[int, int], tuple] = {}
    for request, own in enumerate(pages):
        path = runs.path(request)
        depths = [runs.end[run] for run in path]
        assert depths == sorted(set(depths))
        assert (depths or [0])[-1] == len(own) * page
        assert runs.limit(request) == (len(prompts[request]) - 1) // page * page
        for run in path:
            for depth in range(runs.start(run) + page, runs.end[run] + 1, page):
                prefix = own[depth // page - 1]
                assert named.setdefault((run, depth), prefix) == prefix
                assert users[prefix] == passing(runs, run), "all of a run serves the same prompts"
    assert len(named) == len(users), "no prefix is in two runs"


def passing(runs: Runs, run: int) -> set[int]:
    return {r for r in range(len(runs.last)) if run in runs.path(r)}


@pytest.mark.parametrize(
    ("block", "page", "first", "second", "shared"),
    [
        (4, 2, [7] * 3, [7] * 4 + [8], 2),
        (4, 4, [7] * 3, [7] * 4 + [8], 0),
        (4, 3, [7] * 4 + [8] * 4, [7] * 4 + [9] * 4, 3),
        (1, 2, [7, 8, 9], [7, 8, 8], 2),
    ],
)
def test_prompts_part_inside_blocks_and_pages(block, page, first, second, shared) -> None:
    requests = [TraceRequest(0.0, Key(array("q", p).tobytes()), 1, "") for p in (first, second)]
    runs = runs_of(requests, block, page)
    common = set(runs.path(0)) & set(runs.path(1))
    assert max((runs.end[run] for run in common), default=0) == shared


def test_less_than_a_page_is_no_run() -> None:
    runs = runs_of([TraceRequest(0.0, Key(bytes(8)), 1, "")], 1, 2)
    assert runs.last == [ROOT]
    assert runs.limit(0) == 0
