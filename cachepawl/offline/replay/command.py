"""From the words of a command line to a sweep."""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.errors import InputError
from cachepawl.offline.models import load_model
from cachepawl.offline.replay.lines import BOUNDS
from cachepawl.offline.replay.scenario import GIB, Answers, Scenario
from cachepawl.offline.replay.source import Facts, Source
from cachepawl.offline.replay.sweep import Sweep
from cachepawl.offline.replay.ways import grid_of
from cachepawl.policy import POLICIES
from cachepawl.pool.checkpoint_shape import CHECKPOINT_DTYPES

MOST_GB = 1 << 20


class Wanted(NamedTuple):
    """Options that all replays of a sweep share; None is the default that fits."""

    model: str | None
    device_gb: str | None
    policy: str
    compare: str
    page: int
    chunk: int
    grid: int | None
    running: int
    answers: Answers
    tp: int
    checkpoint_dtype: str
    check_level: int
    host_gb: str = "0"
    link_gbps: float = 50.0
    write: str = "write_through"


def sweep_of(wanted: Wanted, source: Source, facts: Facts) -> Sweep:
    """Every policy and every form of states on every budget, and with --compare every bound.

    InputError for options that name nothing or do not fit together, and ConfigError for a
    model that is not known or that the arena cannot hold.
    """
    spec = load_model(_given("--model", wanted.model, "a preset's name or a config.json")).spec
    usual = grid_of(spec, wanted.page, facts.block_tokens)
    budgets = budgets_of(_given("--device-gb", wanted.device_gb, "the arena's GiB"))
    hosts = list(dict.fromkeys(_host_bytes(part) for part in wanted.host_gb.split(",")))
    names = list(dict.fromkeys([wanted.policy, *_names(wanted.compare)]))
    dtypes = dtypes_of(wanted.checkpoint_dtype)
    scenarios = [
        Scenario(
            spec=spec,
            budget=budget,
            policy=name,
            page=wanted.page,
            chunk=wanted.chunk,
            grid=wanted.grid or usual,
            running=wanted.running,
            answers=wanted.answers,
            tp=wanted.tp,
            checkpoint_dtype=dtype,
            check_level=wanted.check_level,
            host=host,
            link=wanted.link_gbps * 1e9,
            writing=wanted.write,
        )
        for name in names
        for dtype in dtypes
        for host in hosts
        for budget in budgets
    ]
    return Sweep(source, scenarios, list(BOUNDS) if wanted.compare else [])


def _given(option: str, value: str | None, what: str) -> str:
    if value is None:
        raise InputError(f"{option} is missing: give {what}")
    return value


def budgets_of(text: str) -> list[int]:
    """Bytes, from GiB with commas between; InputError for what is no positive number."""
    return list(dict.fromkeys(_bytes(part) for part in text.split(",")))


def dtypes_of(text: str) -> list[str]:
    """How states are stored, from names with commas between; InputError for an unknown one."""
    known = ("auto", *CHECKPOINT_DTYPES)
    names = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in known:
            raise InputError(f"--checkpoint-dtype {name!r}: not one of {', '.join(known)}")
    return names


def _bytes(text: str) -> int:
    size = _number(text)
    if size is None or not 0 < size <= MOST_GB:
        raise InputError(
            f"--device-gb {text.strip()!r}: give GiB above 0 and at most {MOST_GB}, with commas "
            f"between several"
        )
    return int(size * GIB)


def _host_bytes(text: str) -> int:
    size = _number(text)
    if size is None or not 0 <= size <= MOST_GB:
        raise InputError(
            f"--host-gb {text.strip()!r}: give GiB, at most {MOST_GB}, or 0 for no host; with "
            f"commas between several"
        )
    return int(size * GIB)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in POLICIES:
            raise InputError(f"--compare {name!r}: no such policy; known: {', '.join(POLICIES)}")
    return names
