"""H3, H8, H11 on numbers small enough to compute by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cachepawl.offline.sglang.findings.case import Case
from cachepawl.offline.sglang.findings.finding import Severity
from cachepawl.offline.sglang.findings.host import (
    host_over_ranks,
    host_pools,
    states_before_host_kv,
    unified_host_demand,
)
from cachepawl.offline.sglang.inputs.facts import Missing

Make = Callable[..., Case]
ON = "--enable-hierarchical-cache "
LOAD = {"typical_prompt": 900, "typical_answer": 100, "chunk_tokens": 8192}
SIZES = {"entry_bytes": 10, "state_bytes": 1000}


def test_h3_host_states_for_host_kv(make: Make) -> None:
    """100,000 tokens twice, and a page; a state for each 1000 of them."""
    facts = {**LOAD, "kv_tokens": 100_000}
    assert states_before_host_kv(make(f"{ON} --page-size 16", **facts, state_slots=90)) is None
    found = states_before_host_kv(make(f"{ON} --page-size 16", **facts, state_slots=89, **SIZES))
    assert found is not None
    assert found.numbers["host_kv_tokens"] == 200_016
    assert found.numbers["host_states"] == 2 * 89 + 1
    assert found.numbers["share_unreachable"] == pytest.approx(1 - 179_000 / 200_016)
    # One state of 1000 bytes for 1000 tokens of 10 bytes.
    assert str(found.changes[0]) == "--mamba-full-memory-ratio 0.1"


def test_h3_size_is_divided_by_bytes(make: Make) -> None:
    """Of 1e9 bytes KV gets 100,001 x 10 (a padding page) of 1,100,010, states the rest."""
    case = make(f"{ON} --hicache-size 1", kv_tokens=100_000, state_slots=100, **SIZES)
    tokens, slots = host_pools(case)
    assert tokens == 10**9 * 1_000_010 // 1_100_010 // 10 + 1
    assert slots == 10**9 * 100_000 // 1_100_010 // 1000 + 1


@pytest.mark.parametrize(
    ("states", "tokens", "fires"), [(95, 900, True), (94, 900, False), (95, 901, False)]
)
def test_h3_as_seen(make: Make, states: int, tokens: int, fires: bool) -> None:
    """A scrape: states 95 % full, KV 10 % empty."""
    facts = {"host_states": 100, "host_kv_tokens": 1000, "state_slots": 9, **LOAD}
    found = states_before_host_kv(make(ON, **facts, host_states_used=states, host_kv_used=tokens))
    assert bool(found) is fires
    assert found is None or found.severity is Severity.ERROR


def test_h3_not_without_a_host_cache(make: Make) -> None:
    assert states_before_host_kv(make("")) is None
    buffer = f"{ON} --hicache-host-memory-mode buffer_only --hicache-storage-backend file"
    assert states_before_host_kv(make(buffer)) is None


def test_h8_three_times_the_device(make: Make) -> None:
    """2 x (5300 x 10 + 99 x 1000) bytes, a page and a slot, for a buffer of 100,000."""
    facts = {"kv_tokens": 5300, "state_slots": 47, **SIZES}
    found = unified_host_demand(make(f"{ON} --enable-unified-memory", **facts))
    assert found is not None
    assert found.numbers["device_bytes"] == 100_000
    assert found.numbers["states_of_whole_buffer"] == 99
    assert found.numbers["host_bytes_wanted"] == 10 * (10_600 + 1) + 1000 * (198 + 1)
    assert found.numbers["times_device"] == pytest.approx(3.0501)
    assert str(found.changes[0]) == "--hicache-size 1"


@pytest.mark.parametrize(
    "flags",
    [ON, "--enable-unified-memory", f"{ON} --enable-unified-memory --hicache-size 5"],
)
def test_h8_not_beside_it(make: Make, flags: str) -> None:
    assert unified_host_demand(make(flags, kv_tokens=5300, state_slots=47, **SIZES)) is None


def test_h11_copies_of_kv(make: Make) -> None:
    """8 ranks, 2 KV heads: each head is kept by 4 ranks."""
    flags = f"{ON} --tp-size 8 --hicache-ratio 2"
    facts = {"kv_tokens": 1000, "state_slots": 10, **SIZES}
    assert host_over_ranks(make(flags, kv_copies=1, **facts)) is None
    found = host_over_ranks(make(flags, kv_copies=4, **facts))
    assert found is not None
    assert found.severity is Severity.WARNING
    assert found.numbers["host_bytes_of_rank"] == 2001 * 10 + 21 * 1000
    assert found.numbers["host_bytes_total"] == 8 * 41_010
    assert str(found.changes[0]) == "--tp-size 2"


def test_h11_more_than_the_host_has(make: Make) -> None:
    """4 ranks x 20 GB; SGLang leaves 10 GiB alone."""
    flags = f"{ON} --tp-size 4 --hicache-size 20"
    enough = 4 * 20 * 10**9 + (10 << 30)
    found = host_over_ranks(make(flags, host_bytes=enough))
    assert found is not None
    assert found.severity is Severity.INFO
    found = host_over_ranks(make(flags, host_bytes=enough - 1))
    assert found is not None
    assert found.severity is Severity.ERROR
    assert str(found.changes[0]) == "--hicache-size 19"


@pytest.mark.parametrize(
    ("flags", "ranks"),
    [("--tp-size 4 --pp-size 2 --nnodes 2", 4), ("--tp-size 4 --dp-size 2", 8),
     ("--tp-size 4 --dp-size 2 --enable-dp-attention", 4)],
)  # fmt: skip
def test_h11_ranks_of_a_host(make: Make, flags: str, ranks: int) -> None:
    found = host_over_ranks(make(f"{ON} --hicache-size 20 {flags}"))
    assert found is not None
    assert found.numbers["ranks_on_host"] == ranks


def test_h11_not_with_one_rank(make: Make) -> None:
    assert host_over_ranks(make(f"{ON} --hicache-size 20")) is None
    assert host_over_ranks(make("--tp-size 8")) is None


@pytest.mark.parametrize(
    ("check", "flags", "needs"),
    [
        (states_before_host_kv, ON, "typical prompt"),
        (unified_host_demand, f"{ON} --enable-unified-memory", "KV of a token"),
        (host_over_ranks, f"{ON} --tp-size 2", "sizes of the pools"),
    ],
)
def test_not_checked(make: Make, check: Callable[[Case], object], flags: str, needs: str) -> None:
    with pytest.raises(Missing, match=needs):
        check(make(flags))
    with pytest.raises(Missing, match="--flags"):
        check(make(flags=None))
