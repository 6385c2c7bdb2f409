"""H1, H2, H6 on numbers small enough to compute by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cachepawl.offline.sglang.findings.case import Case
from cachepawl.offline.sglang.findings.finding import Severity
from cachepawl.offline.sglang.findings.states import (
    capped_by_states,
    held_by_running,
    states_before_kv,
)
from cachepawl.offline.sglang.inputs.facts import Missing

Make = Callable[..., Case]
# 100 sequences of 900 + 100 tokens; 900 // 256 = 999 // 256, so decode leaves no state.
H1 = {"kv_tokens": 100_000, "typical_prompt": 900, "typical_answer": 100,
      "chunk_tokens": 8192, "running_limit": 10}  # fmt: skip


def test_h1_states_for_all_sequences(make: Make) -> None:
    assert states_before_kv(make(**H1, state_slots=100 + 10 * 3)) is None
    found = states_before_kv(make(**H1, state_slots=100 + 10 * 3 - 1))
    assert found is not None
    assert found.severity is Severity.WARNING
    assert found.numbers["states_wanted"] == 100
    assert found.numbers["slots_for_the_cache"] == 99
    assert found.numbers["reusable_tokens"] == 99_000


def test_h1_not_one_sequence(make: Make) -> None:
    found = states_before_kv(make(**H1, state_slots=30))
    assert found is not None
    assert found.severity is Severity.ERROR
    assert found.numbers["reusable_tokens"] == 0


def test_h1_remedies(make: Make) -> None:
    """Four forwards leave four states; slots for two, so two a path."""
    facts = {**H1, "chunk_tokens": 256, "state_slots": 230, "entry_bytes": 10,
             "state_bytes": 1000}  # fmt: skip
    found = states_before_kv(make(**facts))
    assert found is not None
    assert found.numbers["states_wanted"] == 400
    changes = {change.flag: change.to for change in found.changes}
    # 1,230,000 bytes less 30 slots held; 250 tokens of KV for each state of 1000 bytes.
    kv = (1_230_000 - 30_000) * 2500 / 3500
    assert changes["--mamba-full-memory-ratio"] == f"{(1_230_000 - kv) / kv:.3g}"
    assert changes["--mamba-max-states-per-path"] == "2"
    assert changes["--chunked-prefill-size"] == "512"
    assert states_before_kv(make("--mamba-max-states-per-path 2", **facts)) is None


@pytest.mark.parametrize(
    "flags",
    ["--enable-unified-memory", "--disable-radix-cache",
     "python -m cachepawl.launch_server --page-size 1"],
)  # fmt: skip
def test_h1_not_where_one_budget_or_no_cache_is(make: Make, flags: str) -> None:
    assert states_before_kv(make(flags, **H1, state_slots=30)) is None


def test_h1_int8_states_have_their_own_pool(make: Make) -> None:
    assert states_before_kv(make("--enable-int8-mamba-checkpoint", **H1, state_slots=50)) is None
    assert states_before_kv(make("--enable-int8-mamba-checkpoint", **H1, state_slots=49))


def test_h2_half_of_the_slots(make: Make) -> None:
    """10 requests hold 3 and lock 1 each: 40."""
    assert held_by_running(make(state_slots=80, running_limit=10)) is None
    found = held_by_running(make(state_slots=79, running_limit=10))
    assert found is not None
    assert found.numbers["slots_taken"] == 40
    assert found.numbers["share_taken"] == pytest.approx(40 / 79)
    assert str(found.changes[0]) == "--max-running-requests 9"
    lazy = make("--mamba-radix-cache-strategy extra_buffer_lazy", state_slots=79, running_limit=10)
    assert held_by_running(lazy) is None  # 30


def test_h2_all_of_the_slots(make: Make) -> None:
    found = held_by_running(make(state_slots=40, running_limit=10))
    assert found is not None
    assert found.severity is Severity.ERROR


def test_h6_requests_and_slots(make: Make) -> None:
    """64 slots // 5."""
    assert capped_by_states(make("--max-running-requests 12", state_slots=64)) is None
    found = capped_by_states(make("--max-running-requests 13", state_slots=64))
    assert found is not None
    assert found.severity is Severity.WARNING
    assert (found.numbers["cap"], found.numbers["slots_needed"]) == (12, 65)
    assert [str(c) for c in found.changes] == ["--mamba-ssm-dtype bfloat16"]


def test_h6_ratio(make: Make) -> None:
    """65 slots of 1000 bytes from 64,000 + 100,000 bytes."""
    sizes = {"kv_tokens": 10_000, "entry_bytes": 10, "state_bytes": 1000, "state_slots": 64}
    found = capped_by_states(make(concurrency=13, **sizes))
    assert found is not None
    assert str(found.changes[0]) == f"--mamba-full-memory-ratio {65_000 / 99_000:.3g}"
    more = capped_by_states(make("--max-mamba-cache-size 64", concurrency=13, **sizes))
    assert more is not None
    assert str(more.changes[0]) == "--max-mamba-cache-size 65"


def test_h6_none_at_all(make: Make) -> None:
    found = capped_by_states(make(concurrency=1, state_slots=4))
    assert found is not None
    assert found.severity is Severity.ERROR


def test_h6_with_attention_ranks(make: Make) -> None:
    """26 requests over two groups of ranks are 13 each."""
    flags = "--tp-size 2 --dp-size 2 --enable-dp-attention --max-running-requests 26"
    assert capped_by_states(make(flags, state_slots=64))
    assert capped_by_states(make(flags.replace("26", "25"), state_slots=64)) is None


@pytest.mark.parametrize(
    ("check", "facts", "needs"),
    [
        (states_before_kv, {"state_slots": 9}, "typical prompt"),
        (states_before_kv, {k: v for k, v in H1.items() if k != "kv_tokens"}, "KV pool"),
        (states_before_kv, H1, "state pool"),
        (held_by_running, {"running_limit": 3}, "state pool"),
        (held_by_running, {"state_slots": 3}, "requests running"),
        (capped_by_states, {"state_slots": 3}, "--concurrency"),
        (capped_by_states, {"concurrency": 3}, "state pool"),
    ],
)
def test_not_checked(
    make: Make, check: Callable[[Case], object], facts: dict[str, float], needs: str
) -> None:
    with pytest.raises(Missing, match=needs):
        check(make(**facts))
    with pytest.raises(Missing, match=r"--model"):
        check(make(model=None))
    with pytest.raises(Missing, match=r"--flags"):
        check(make(flags=None, state_slots=3, kv_tokens=3, typical_prompt=3, typical_answer=3))


@pytest.mark.parametrize("check", [states_before_kv, held_by_running, capped_by_states])
def test_not_without_states(make: Make, check: Callable[[Case], object]) -> None:
    assert check(make(model="dense")) is None
