"""A scrape of `/metrics`: Prometheus' text format, read strictly.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text, version 0.0.4).
Names of the series: SGLang 0.5.23, `observability/metrics_collector.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from cachepawl.errors import InputError
from cachepawl.offline.files import numbered_lines
from cachepawl.offline.sglang.inputs.facts import Fact, Reading

_SAMPLE = re.compile(
    r"""(?P<name>[a-zA-Z_:][\w:]*)
        (?:\{(?P<labels>(?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?
        [ \t]+(?P<value>\S+)
        (?:[ \t]+(?P<at>-?\d+))?[ \t]*""",
    re.VERBOSE | re.ASCII,
)
_LABEL = re.compile(r'\s*([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)', re.ASCII)
_MOST_SERIES = 200_000

GAUGES = {
    "sglang:max_total_num_tokens": "kv_tokens",
    "sglang:page_size": "page_tokens",
    "sglang:kv_used_tokens": "kv_used",
    "sglang:kv_available_tokens": "kv_free",
    "sglang:kv_evictable_tokens": "kv_evictable",
    "sglang:mamba_used_tokens": "states_used",
    "sglang:mamba_available_tokens": "states_free",
    "sglang:mamba_evictable_tokens": "states_evictable",
    "sglang:token_usage": "token_usage",
    "sglang:num_running_reqs": "running",
    "sglang:num_queue_reqs": "queued",
    "sglang:hicache_host_total_tokens": "host_kv_tokens",
    "sglang:hicache_host_used_tokens": "host_kv_used",
    "sglang:hicache_host_mamba_total_states": "host_states",
    "sglang:hicache_host_mamba_used_states": "host_states_used",
}
"""Read from one rank: each rank has pools of its own."""
MEANS = {
    "sglang:prompt_tokens_histogram": "typical_prompt",
    "sglang:generation_tokens_histogram": "typical_answer",
}
"""Mean of a histogram over all its series."""


class Sample(NamedTuple):
    """One line: a series and its value."""

    line: int
    name: str
    labels: Mapping[str, str]
    value: float


def read_metrics(path: Path) -> Reading:
    """What a scrape says of one rank.  InputError unless it is an SGLang server's."""
    samples = list(_samples(path))
    ours = [s for s in samples if s.name.startswith("sglang:")]
    if not ours:
        raise InputError(
            f"{path}: no series named sglang:... in it; give the text of an SGLang server's "
            f"/metrics, started with --enable-metrics"
        )
    gauges = _gauges(path, ours)
    return Reading(str(path), {**gauges, **_slots(path, gauges), **_means(path, ours)})


def _samples(path: Path) -> Iterator[Sample]:
    count = 0
    for number, line in numbered_lines(path):
        if line.lstrip().startswith("#"):
            continue
        count += 1
        if count > _MOST_SERIES:
            raise InputError(f"{path}:{number}: more than {_MOST_SERIES} series")
        found = _SAMPLE.fullmatch(line.strip())
        if found is None:
            raise InputError(
                f"{path}:{number}: not a metrics line: {line.strip()[:60]!r}; give the text of "
                f"/metrics"
            )
        yield _sample(f"{path}:{number}", number, found)


def _sample(where: str, number: int, found: re.Match[str]) -> Sample:
    try:
        value = float(found["value"])
    except ValueError:
        raise InputError(
            f"{where}: {found['name']} is {found['value'][:40]!r}, not a number"
        ) from None
    return Sample(number, found["name"], _labels(where, found["labels"] or ""), value)


def _labels(where: str, text: str) -> dict[str, str]:
    labels, at = dict[str, str](), 0
    while at < len(text.rstrip()):
        found = _LABEL.match(text, at)
        if found is None or found[1] in labels:
            raise InputError(f"{where}: labels that cannot be read: {text[at : at + 40]!r}")
        labels[found[1]] = found[2]
        at = found.end()
    return labels


def _gauges(path: Path, samples: list[Sample]) -> dict[str, Fact]:
    """The first rank's gauges."""
    facts = dict[str, Fact]()
    ranks = dict[str, tuple[int, ...]]()
    for sample in samples:
        name = GAUGES.get(sample.name)
        if name is None:
            continue
        rank = _rank(sample.labels)
        if name not in facts or rank < ranks[name]:
            value = _counted(path, sample)
            facts[name] = Fact(value, f"{path}:{sample.line} {sample.name}")
            ranks[name] = rank
    return facts


def _slots(path: Path, gauges: Mapping[str, Fact]) -> dict[str, Fact]:
    """The state pool's size, which no series tells: every slot is used, free or evictable."""
    names = ("states_used", "states_free", "states_evictable")
    slots = sum(gauges[name].value for name in names if name in gauges)
    known = all(name in gauges for name in names) and slots
    return {"state_slots": Fact(slots, f"{path} sglang:mamba_*_tokens, their sum")} if known else {}


def _rank(labels: Mapping[str, str]) -> tuple[int, ...]:
    """An order of ranks; a label that is no number counts as 0."""
    names = ("dp_rank", "pp_rank", "tp_rank")
    texts = [labels.get(name, "0") for name in names]
    return tuple(int(t) if t.isascii() and t.isdigit() and len(t) < 9 else 0 for t in texts)


def _counted(path: Path, sample: Sample) -> float:
    """The value of a gauge or counter that has sense only from 0 on."""
    value = sample.value
    if not (math.isfinite(value) and 0 <= value < 1e15):
        raise InputError(
            f"{path}:{sample.line}: {sample.name} is {value}; it must be finite and at least 0"
        )
    return int(value) if value.is_integer() else value


def _means(path: Path, samples: list[Sample]) -> dict[str, Fact]:
    facts = dict[str, Fact]()
    for base, name in MEANS.items():
        total = sum(_counted(path, s) for s in samples if s.name == f"{base}_sum")
        count = sum(_counted(path, s) for s in samples if s.name == f"{base}_count")
        if count:
            facts[name] = Fact(total / count, f"{path} {base}, mean of {count:.0f} requests")
    return facts
