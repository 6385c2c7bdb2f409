"""H5, H10, H12, H15 on numbers small enough to compute by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cachepawl.offline.sglang.findings.case import Case
from cachepawl.offline.sglang.findings.finding import Severity
from cachepawl.offline.sglang.findings.pools import (
    frame_padding,
    ratio_against_context,
    states_of_drafts,
)
from cachepawl.offline.sglang.findings.usage import usage_hides_kind
from cachepawl.offline.sglang.inputs.facts import Missing

Make = Callable[..., Case]
SIZES = {"entry_bytes": 10, "state_bytes": 1000}
IDLE = {"kv_used": 0, "kv_evictable": 0, "states_used": 0, "states_evictable": 0}


def test_h5_idle_bytes(make: Make) -> None:
    """10 requests of 1000 x 10 + 5 x 1000 bytes use 150,000 of 200,000, or of 180,000."""
    facts = {"kv_tokens": 10_000, "context": 1000, **SIZES}
    assert ratio_against_context(make(state_slots=80, **facts)) is None
    found = ratio_against_context(make(state_slots=100, **facts))
    assert found is not None
    assert found.numbers["requests_by_kv"] == 10
    assert found.numbers["requests_by_states"] == 20
    assert found.numbers["idle_share"] == pytest.approx(0.25)
    assert found.numbers["requests_at_best_ratio"] == 200_000 // 15_000
    assert str(found.changes[0]) == "--mamba-full-memory-ratio 0.5"


def test_h5_context_is_prompt_and_answer(make: Make) -> None:
    facts = {"kv_tokens": 10_000, "state_slots": 100, "typical_prompt": 900,
             "typical_answer": 100, **SIZES}  # fmt: skip
    found = ratio_against_context(make(**facts))
    assert found is not None
    assert found.numbers["context"] == 1000
    assert ratio_against_context(make("--enable-unified-memory", **facts)) is None


@pytest.mark.parametrize(
    ("states_free", "kv_free", "fires"),
    [(5, 25, True), (6, 25, False), (5, 24, False), (0, 100, True), (25, 5, True)],
)
def test_h10_scrape(make: Make, states_free: int, kv_free: int, fires: bool) -> None:
    """Of 100 each: at most 5 % free of one kind, at least 25 % of the other."""
    facts = {"kv_free": kv_free, "states_free": states_free, "token_usage": 0.1,
             "kv_used": 0, "states_used": 0}  # fmt: skip
    rest = {"kv_evictable": 100 - kv_free, "states_evictable": 100 - states_free}
    found = usage_hides_kind(make(**facts, **rest))
    assert bool(found) is fires
    if found is not None:
        assert found.numbers["states_free_share"] == states_free / 100
        starved = "1.8" if states_free < kv_free else "0.45"
        assert str(found.changes[0]) == f"--mamba-full-memory-ratio {starved}"


@pytest.mark.parametrize(("states_free", "fires"), [(4, True), (5, False)])
def test_h10_no_slots_for_one_more_request(make: Make, states_free: int, fires: bool) -> None:
    """3 held and one more, of 24; an idle server has those free."""
    facts = {"kv_free": 50, "kv_used": 0, "kv_evictable": 50, "states_used": 0,
             "states_free": states_free, "states_evictable": 24 - states_free}  # fmt: skip
    assert bool(usage_hides_kind(make(**facts))) is fires


@pytest.mark.parametrize(("kv", "states", "fires"), [(0.2, 0.7, True), (0.21, 0.7, False)])
def test_h10_log(make: Make, kv: float, states: float, fires: bool) -> None:
    assert bool(usage_hides_kind(make(kv_usage=kv, states_usage=states))) is fires


def test_h10_flags_unknown(make: Make) -> None:
    """Only a scrape: the finding stands, without a flag to change."""
    facts = {"kv_free": 90, "states_free": 0, **IDLE, "kv_evictable": 10, "states_evictable": 9}
    found = usage_hides_kind(make(None, None, state_slots=9, **facts))
    assert found is not None
    assert found.changes == ()


def test_h12_padding(make: Make) -> None:
    """Qwen3-Next pads 0.25 % at 16 and 1.78 % at 64; Jamba 4.30 % at 64."""
    assert frame_padding(make("--page-size 64", state_bytes=1)) is None
    jamba = "AI21-Jamba-1.5-Mini"
    assert frame_padding(make("--page-size 16", jamba, state_bytes=1)) is None
    found = frame_padding(make("--page-size 64", jamba, state_bytes=1))
    assert found is not None
    assert found.severity is Severity.INFO
    assert found.numbers["padding"] == 1 - 15.3125 / 16
    assert str(found.changes[0]) == "--page-size 32"
    ours = make("python -m cachepawl.launch_server --page-size 64", jamba, state_bytes=1)
    found = frame_padding(ours)
    assert found is not None
    assert found.severity is Severity.WARNING


def test_h12_not_for_what_the_arena_does_not_hold(make: Make) -> None:
    assert frame_padding(make("--page-size 64", "Kimi-Linear-48B-A3B-Instruct")) is None


def test_h15_states_of_drafts(make: Make) -> None:
    """(9 + 1) x 2 x 1000 bytes beside 180,000 are a tenth."""
    flags = "--speculative-algorithm EAGLE --speculative-num-draft-tokens 2"
    facts = {"kv_tokens": 8000, "running_limit": 9, **SIZES}
    assert states_of_drafts(make(flags, state_slots=100, **facts)) is None
    found = states_of_drafts(make(flags, state_slots=99, **facts))
    assert found is not None
    assert found.numbers["draft_bytes"] == 20_000
    assert states_of_drafts(make("", state_slots=99, **facts)) is None
    replay = f"{flags} --enable-linear-replayssm-spec"
    assert states_of_drafts(make(replay, state_slots=99, **facts)) is None


@pytest.mark.parametrize(
    ("check", "flags", "needs"),
    [
        (ratio_against_context, "", "--context"),
        (usage_hides_kind, "", "--metrics"),
        (states_of_drafts, "--speculative-algorithm EAGLE", "--speculative-num-draft-tokens"),
        (states_of_drafts, "--speculative-algorithm EAGLE --speculative-num-draft-tokens 2",
         "a state, bytes"),
    ],
)  # fmt: skip
def test_not_checked(make: Make, check: Callable[[Case], object], flags: str, needs: str) -> None:
    with pytest.raises(Missing, match=needs):
        check(make(flags))


def test_frames_need_the_model(make: Make) -> None:
    with pytest.raises(Missing, match="--model"):
        frame_padding(make(model=None))
