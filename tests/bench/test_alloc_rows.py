"""Both allocators of a row hand out what is asked for and take it back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from benchmarks.bench_alloc import (
    BATCH,
    COLUMNS,
    POOL_TOKENS,
    REQUEST,
    ROWS,
    Host,
    Indices,
    Sglang,
    Whole,
    measure,
)
from benchmarks.sglang_tree import sglang_context


@pytest.fixture(params=[1, 16, 64])
def page(request: pytest.FixtureRequest) -> Iterator[int]:
    with sglang_context(request.param):
        yield request.param


def test_a_request_gets_4096_tokens_of_whole_pages(page: int) -> None:
    for subject in (Whole(page), Sglang(page)):
        call, _ = subject.allocate()
        ids = call()
        assert ids.shape == (REQUEST,)
        assert len(torch.unique(ids)) == REQUEST
        pages = ids.view(-1, page)
        assert torch.equal(pages, pages[:, :1] + torch.arange(page))
        assert torch.all(pages[:, 0] % page == 0)


def test_indices_are_those_of_the_request(page: int) -> None:
    subject = Indices(page)
    call, row_of = subject.allocate()
    ids = call()
    runs = subject.cache.refs.pages(row_of(ids), 0, REQUEST // page)
    assert ids.tolist() == [p * page + i for p in runs for i in range(page)]


def test_a_free_gives_all_of_it_back(page: int) -> None:
    for ours in (Host(page), Whole(page)):
        call, request_of = ours.allocate()
        row = request_of(call())
        assert ours.cache.frames.kv_pages == REQUEST // page
        ours.free(row)()
        assert ours.cache.frames.kv_pages == 0
        assert not ours.cache.refs.rows
        ours.cache.check(2)
    stock = Sglang(page)
    ids = stock.allocate()[0]()
    assert stock.allocator.available_size() == POOL_TOKENS - REQUEST
    stock.free(ids)()
    assert stock.allocator.available_size() == POOL_TOKENS


def test_a_step_goes_on_where_each_row_was(page: int) -> None:
    lengths = [512 + 3 * i for i in range(BATCH)]
    host, whole, stock = Host(page), Whole(page), Sglang(page)
    for subject in (host, whole, stock):
        subject.start_decoding(lengths)
    used = {id(subject): subject.cache.frames.kv_pages for subject in (host, whole)}
    tails = [tails_of(whole), stock.last.tolist()]
    borders = [i for i, length in enumerate(lengths) if length % page == 0]
    host.decode(lengths)()
    for subject, before in zip((whole, stock), tails, strict=True):
        ids = subject.decode(lengths)().tolist()
        assert len(set(ids)) == BATCH
        for i, (old, new) in enumerate(zip(before, ids, strict=True)):
            assert new % page == 0 if i in borders else new == old + 1
    for subject in (host, whole):
        assert subject.cache.frames.kv_pages - used[id(subject)] == len(borders)
        subject.cache.check(2)


def tails_of(whole: Whole) -> list[int]:
    return [int(whole.allocator._tails[row]) for row in whole.rows]


def test_every_row_is_measured() -> None:
    rows = dict(measure(64, 4))
    assert set(rows) == set(ROWS)
    assert {column for times in rows.values() for column in times} == set(COLUMNS)
    assert all(len(found) == 4 for times in rows.values() for found in times.values())
