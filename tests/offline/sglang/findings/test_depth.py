"""H4, H7, H14, H16: grids against prompts, answers and chunks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cachepawl.offline.sglang.findings.case import Case
from cachepawl.offline.sglang.findings.depth import (
    answers_not_cached,
    cache_is_inert,
    chunk_below_grid,
    prompt_on_grid,
)
from cachepawl.offline.sglang.findings.finding import Severity
from cachepawl.offline.sglang.inputs.facts import Missing

Make = Callable[..., Case]


@pytest.mark.parametrize(
    ("flags", "facts", "unit"),
    [
        ("--page-size 16", {}, 64),
        ("--page-size 128", {}, 128),
        ("--page-size 32", {"state_chunk": 256}, 256),
        ("--page-size 64 --dcp-size 4", {}, 256),
    ],
)
def test_h4_grid(make: Make, flags: str, facts: dict[str, float], unit: int) -> None:
    """lcm(max(state chunk, page), page x dcp); a request of one grid reuses nothing."""
    assert cache_is_inert(make(flags, context_limit=unit + 1, **facts)) is None
    found = cache_is_inert(make(flags, context_limit=unit, **facts))
    assert found is not None
    assert found.severity is Severity.ERROR
    assert found.numbers["unit_tokens"] == unit


def test_h4_typical_prompt(make: Make) -> None:
    assert cache_is_inert(make(context_limit=4096, typical_prompt=65)) is None
    found = cache_is_inert(make("--page-size 128", context_limit=4096, typical_prompt=128))
    assert found is not None
    assert found.severity is Severity.WARNING
    assert str(found.changes[0]) == "--page-size 64"


def test_h4_pages_of_a_model_without_states(make: Make) -> None:
    assert cache_is_inert(make("--page-size 64", "dense", typical_prompt=65)) is None
    assert cache_is_inert(make("--page-size 64", "dense", typical_prompt=64))
    assert cache_is_inert(make("--page-size 64 --disable-radix-cache", typical_prompt=1)) is None


def test_h7_answers_and_the_track_grid(make: Make) -> None:
    assert answers_not_cached(make(typical_answer=256)) is None
    found = answers_not_cached(make(typical_answer=255))
    assert found is not None
    assert found.severity is Severity.INFO
    assert found.numbers["chance_of_a_state"] == pytest.approx(255 / 256)
    found = answers_not_cached(make(typical_answer=64))
    assert found is not None
    assert found.severity is Severity.WARNING
    assert str(found.changes[0]) == "--mamba-track-interval 64"


def test_h7_interval_off_the_grid(make: Make) -> None:
    """lcm(64, 96) = 192; the interval advised is no shorter than a draft."""
    flags = "--page-size 16 --mamba-track-interval 96"
    assert answers_not_cached(make(flags, typical_answer=192)) is None
    found = answers_not_cached(make(f"{flags} --speculative-num-draft-tokens 65",
                                    typical_answer=191))  # fmt: skip
    assert found is not None
    assert str(found.changes[0]) == "--mamba-track-interval 128"


def test_h7_not_without_snapshots(make: Make) -> None:
    flags = "--mamba-radix-cache-strategy no_buffer --disable-overlap-schedule"
    assert answers_not_cached(make(flags, typical_answer=1)) is None
    assert answers_not_cached(make(model="dense", typical_answer=1)) is None


@pytest.mark.parametrize(
    ("chunk", "severity", "to"),
    [(64, None, ""), (8192, None, ""), (-1, None, ""), (48, Severity.ERROR, "64"),
     (8208, Severity.WARNING, "8192"), (1000, Severity.WARNING, "960")],
)  # fmt: skip
def test_h14_chunks(make: Make, chunk: int, severity: Severity | None, to: str) -> None:
    found = chunk_below_grid(make("--page-size 16", chunk_tokens=chunk))
    assert (found and found.severity) is severity
    assert found is None or str(found.changes[0]) == f"--chunked-prefill-size {to}"


def test_h14_chunks_are_divided_over_attention_ranks(make: Make) -> None:
    flags = "--page-size 16 --dp-size 4 --tp-size 4 --enable-dp-attention --chunked-prefill-size"
    assert chunk_below_grid(make(f"{flags} 256")) is None
    assert chunk_below_grid(make(f"{flags} 192"))


@pytest.mark.parametrize(
    ("prompt", "chunk", "reused"),
    [(128, -1, 0), (64, 8192, 0), (512, 256, 256), (129, -1, None), (32, -1, None)],
)
def test_h16_prompts_on_the_grid(make: Make, prompt: int, chunk: int, reused: int | None) -> None:
    found = prompt_on_grid(make(typical_prompt=prompt, chunk_tokens=chunk))
    assert (found and found.numbers["reused"]) == reused


@pytest.mark.parametrize(
    ("check", "needs"),
    [
        (cache_is_inert, "typical prompt"),
        (answers_not_cached, "typical answer"),
        (chunk_below_grid, "prefill chunk"),
        (prompt_on_grid, "typical prompt"),
    ],
)
def test_not_checked(make: Make, check: Callable[[Case], object], needs: str) -> None:
    with pytest.raises(Missing, match=needs):
        check(make())
    with pytest.raises(Missing, match="--flags"):
        check(make(flags=None, typical_prompt=9, typical_answer=9))
