"""What a recording says, and whether it runs again as it was: the report of an exact re-run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from cachepawl.offline.document import Document, Heading, Report, Table, Text
from cachepawl.offline.recorded.log import Log
from cachepawl.offline.recorded.requests import RecordedRequest, requests_of
from cachepawl.offline.recorded.rerun import Rerun

WORST = 20
"""Requests shown: those with the most tokens to compute."""


class _Totals:
    """Sums over requests, and the worst of them."""

    def __init__(self) -> None:
        self.requests = self.prompt = self.recorded = self.hit = self.output = self.from_host = 0
        self.differ = 0
        """Requests whose hit, in the re-run, is not what the server said."""
        self.unknown = 0
        """Requests whose hit is not known, for the state was not."""
        self.missed: Counter[str] = Counter()
        self.worst: list[RecordedRequest] = []

    def add(self, request: RecordedRequest) -> None:
        self.requests += 1
        self.prompt += request.prompt
        self.recorded += request.recorded
        self.from_host += request.from_host
        self.output += request.output
        for miss in request.missed:
            self.missed[miss.reason] += miss.tokens
        if request.hit is None:
            self.unknown += 1
        else:
            self.hit += request.hit
            self.differ += request.hit != request.recorded
        self.worst.append(request)
        if len(self.worst) > 2 * WORST:
            self._cut()

    def _cut(self) -> None:
        self.worst.sort(key=lambda r: (r.recorded - r.prompt, r.number))
        del self.worst[WORST:]

    def finish(self) -> None:
        self._cut()


def exact_report(path: Path) -> Report:
    """Runs a recording again on the recorded geometry.  InputError for a log that is none."""
    rerun, totals = Rerun(Log(path)), _Totals()
    for request in requests_of(rerun):
        totals.add(request)
    totals.finish()
    data = _data(rerun, totals)
    return Report(data, _document(path, rerun, totals, data))


def _data(rerun: Rerun, totals: _Totals) -> dict[str, Any]:
    header, cache, tier = rerun.log.header, rerun.cache, rerun.tier
    return {
        "recording": {
            "parts": [part.name for part in rerun.log.parts],
            "complete": rerun.log.complete,
            "cachepawl": header.cachepawl,
            "serving": dict(header.serving),
            "geometry": header.geometry.model_dump(),
            "policy": header.policy,
            "host": None if header.host is None else header.host.model_dump(),
        },
        "rerun": {
            "calls": rerun.made,
            "calls_without_known_state": rerun.skipped,
            "lines_lost_while_recording": rerun.lost,
            "divergence": None if rerun.divergence is None else rerun.divergence._asdict(),
        },
        "requests": {
            "ended": totals.requests,
            "prompt_tokens": totals.prompt,
            "hit_tokens_recorded": totals.recorded,
            "hit_tokens_rerun": totals.hit,
            "hit_tokens_from_host": totals.from_host,
            "with_another_hit": totals.differ,
            "with_unknown_hit": totals.unknown,
            "answered_tokens": totals.output,
            "missed_tokens": dict(totals.missed.most_common()),
        },
        "stats": None if cache is None else cache.stats() | (tier.stats() if tier else {}),
    }


def _document(path: Path, rerun: Rerun, totals: _Totals, data: dict[str, Any]) -> Document:
    counted = [[key.replace("_", " "), n] for key, n in data["requests"].items() if key[0] != "m"]
    missed = [[reason, tokens] for reason, tokens in data["requests"]["missed_tokens"].items()]
    worst = [
        [r.ordinal, r.name, round(r.at, 3), r.prompt, r.recorded, r.hit, r.output,
         ", ".join(f"{m.tokens} {m.reason}" for m in r.missed)]
        for r in totals.worst
    ]  # fmt: skip
    blocks: list[Any] = [
        Text(f"- Files: {', '.join(part.name for part in rerun.log.parts)}\n"
             f"- {_ending(rerun)}\n- {_coverage(rerun)}"),
        Heading("Requests"),
        Table(["", "tokens or requests"], counted),
        Table(["reason", "tokens"], missed, title="Prompt tokens that had to be computed"),
        Table(["number", "request", "at s", "prompt", "cached", "re-run", "answer",
               "why not more"], worst, title="Requests with most to compute"),
    ]  # fmt: skip
    if data["stats"] is not None:
        rows = [[key.replace("_", " "), n] for key, n in data["stats"].items()]
        blocks += [Heading("The cache at the end"), Table(["", "value"], rows)]
    return Document(f"Re-run of {path.name}", _lead(rerun, totals), blocks)


def _lead(rerun: Rerun, totals: _Totals) -> str:
    if rerun.divergence is not None:
        return f"The re-run differs from the recording. {rerun.divergence}."
    if not rerun.made:
        return "Nothing could be run again: the recording has no start and no reset."
    share = 100 * totals.recorded / totals.prompt if totals.prompt else 0.0
    return (
        f"{rerun.made} calls run again gave the recorded answers. {totals.requests} requests had "
        f"{share:.1f} % of their prompt tokens cached."
    )


def _ending(rerun: Rerun) -> str:
    if rerun.log.complete:
        return "The recording was closed."
    return "The recording ends without a last line: the server was stopped, or its disk was full."


def _coverage(rerun: Rerun) -> str:
    if rerun.skipped or rerun.lost:
        return (
            f"{rerun.skipped} calls could not be run again, for the state before them is not in "
            f"these files; {rerun.lost} lines were lost while recording. A re-run begins at the "
            "start of a recording or at a reset."
        )
    return "Every recorded call was run again."
