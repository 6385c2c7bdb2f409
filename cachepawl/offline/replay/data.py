"""The result of a replay for programs: plain dicts, numbers finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cachepawl.offline.replay.lines import Line
from cachepawl.offline.replay.measures import Window
from cachepawl.offline.replay.occupancy import Occupancy
from cachepawl.offline.replay.outcome import Outcome
from cachepawl.offline.replay.scenario import Scenario
from cachepawl.offline.replay.source import Facts, Source

COUNTERS = (
    "admissions_refused",
    "checkpoints_skipped",
    "prefixes_dropped",
    "states_published",
    "kv_to_state",
    "state_to_kv",
    "reservations_revoked",
)


def data_of(
    source: Source, facts: Facts, outcomes: Sequence[Outcome], lines: Sequence[Line]
) -> dict[str, Any]:
    """Everything that was found."""
    return {
        "trace": {
            "path": str(source.path),
            "limit": source.limit,
            **source.options._asdict(),
            **facts._asdict(),
        },
        "model": _model(outcomes[0].scenario),
        "options": _options(outcomes[0].scenario),
        "replays": [_replay(outcome) for outcome in outcomes],
        "bounds": [_bound(line, facts.prompt_tokens) for line in lines],
    }


def _model(scenario: Scenario) -> dict[str, Any]:
    geometry = scenario.geometry
    return {
        "name": scenario.spec.name,
        "kv_bytes_per_token": geometry.entry_bytes,
        "state_bytes": geometry.state_bytes,
        "frame_bytes": geometry.frame_bytes,
        "pages_per_frame": geometry.pages_per_frame,
        "states_per_request": scenario.way.slots,
    }


def _options(scenario: Scenario) -> dict[str, Any]:
    names = ("page", "chunk", "grid", "running", "answers", "tp", "check_level", "link", "writing")
    return {name: getattr(scenario, name) for name in names}


def _bound(line: Line, prompt_tokens: int) -> dict[str, Any]:
    rate = line.hit / prompt_tokens if prompt_tokens else 0.0
    return {"name": line.name, "device_bytes": line.budget, "hit_tokens": line.hit,
            "hit_rate": rate, "checkpoint_dtype": line.checkpoint_dtype}  # fmt: skip


def _replay(outcome: Outcome) -> dict[str, Any]:
    scenario, total, geometry = outcome.scenario, outcome.total, outcome.scenario.geometry
    return {
        "policy": scenario.policy,
        "checkpoint_dtype": scenario.checkpoint_dtype,
        "kept_state_bytes": geometry.kept_bytes,
        "kept_states_per_frame": max(1, geometry.checkpoints_per_frame) if geometry.state else 0,
        "device_bytes": scenario.budget,
        "host_bytes": scenario.host,
        "frames": geometry.usable_frames,
        "requests": total.requests,
        "refused_requests": total.refused,
        "refused_prompt_tokens": total.refused_tokens,
        "prompt_tokens": total.prompt,
        "hit_tokens": total.hit,
        "hit_rate": total.hit_rate,
        "missed_tokens": dict(total.missed),
        "prefill_flops": total.flops,
        "prefill_flops_saved": total.flops_saved,
        "evicted_tokens": total.evicted_tokens,
        "evicted_states": total.evicted_states,
        "mean_bytes": total.mean_occupancy()._asdict(),
        "peak_stranded_bytes": outcome.peak_stranded,
        "counters": {name: outcome.counters[name] for name in COUNTERS},
        "host": outcome.host,
        "cpu_seconds": round(outcome.seconds, 3),
        "windows": _windows(outcome.windows, outcome.width),
    }


def _windows(windows: Sequence[Window], width: int) -> dict[str, Any]:
    """One list for each measure, an entry a window of `width` requests."""

    def column(get: Callable[[Window], Any]) -> list[Any]:
        return [get(window) for window in windows]

    reasons = sorted({reason for window in windows for reason in window.missed})
    means = [window.mean_occupancy() for window in windows]
    return {
        "width": width,
        "first_at": column(lambda w: w.first_at),
        "last_at": column(lambda w: w.last_at),
        "requests": column(lambda w: w.requests),
        "prompt_tokens": column(lambda w: w.prompt),
        "hit_tokens": column(lambda w: w.hit),
        "evicted_tokens": column(lambda w: w.evicted_tokens),
        "evicted_states": column(lambda w: w.evicted_states),
        "missed_tokens": {reason: [w.missed[reason] for w in windows] for reason in reasons},
        "mean_bytes": {name: [getattr(m, name) for m in means] for name in Occupancy._fields},
    }
