"""Any subset of inputs, read and put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from cachepawl.errors import ConfigError, InputError
from cachepawl.offline.sglang.flags import ServerFlags, parse_flags
from cachepawl.offline.sglang.inputs.accounts import (
    attention_ranks,
    check_counts,
    flags_in_effect,
)
from cachepawl.offline.sglang.inputs.facts import Conflict, Fact, Facts, Reading, gathered
from cachepawl.offline.sglang.inputs.kinds import for_option
from cachepawl.offline.sglang.inputs.launch import flags_of, read_launch
from cachepawl.offline.sglang.inputs.log import read_log
from cachepawl.offline.sglang.inputs.metrics import read_metrics
from cachepawl.offline.sglang.inputs.model import Model, read_model
from cachepawl.offline.sglang.inputs.planned import (
    UNKNOWN,
    Memory,
    budget_left,
    budget_of_pools,
    planned_pools,
)
from cachepawl.offline.sglang.inputs.server_info import read_server_info
from cachepawl.offline.sglang.inputs.sizes import sizes_of
from cachepawl.offline.sglang.memory import Budget, DoesNotFit

READ_VERSION = "0.5.23"
"""The version of SGLang whose rules are known here."""


@dataclass(frozen=True)
class Inputs:
    """What was handed in; None or empty where nothing was."""

    model: str | None = None
    flags: str | None = None
    words: tuple[str, ...] = ()
    launch: Path | None = None
    server_info: Path | None = None
    log: Path | None = None
    metrics: Path | None = None
    workload: Mapping[str, float | None] | None = None
    """Expected context, prompt, answer, concurrency and host memory, by the names of facts."""
    memory: Memory = UNKNOWN


class Known(NamedTuple):
    """Facts, flags and model, with what else is worth telling about the inputs."""

    facts: Facts
    flags: ServerFlags | None
    model: Model | None
    settled: tuple[Conflict, ...]
    """Flags that SGLang changed at start."""
    notes: tuple[str, ...]
    budget: Budget | None = None
    """Bytes of a rank for KV and states, as far as known."""
    refused: str | None = None
    """Why the ranks or the memory cannot hold the model and one request, if they cannot."""

    @property
    def cachepawl(self) -> bool:
        """Whether the server runs cachepawl's cache."""
        flags = self.flags
        if flags is None:
            return False
        ours = flags.given & {
            "cachepawl_device_gb",
            "cachepawl_policy",
            "cachepawl_checkpoint_dtype",
        }
        named = "cachepawl.launch_server" in flags.rest or flags.radix_cache_backend == "cachepawl"
        return bool(ours) or named


def gather(inputs: Inputs) -> Known:
    """Read all inputs.  InputError when there are none, or one cannot be read."""
    model = None
    if inputs.model is not None:
        with for_option(Path(inputs.model), "--model"):
            model = read_model(inputs.model)
    readings = _readings(inputs)
    command = _command(inputs, readings)
    flags, settled, conflicts = flags_in_effect(readings, command)
    if flags is None and model is not None and not readings:
        flags = ServerFlags()
    if flags is not None:
        check_counts(flags)
    facts = gathered([_expected(inputs), *readings, *([] if model is None else [model.reading])])
    if flags is not None and flags.context_length is not None:
        facts = facts.with_default("context_limit", Fact(flags.context_length, "--context-length"))
    if "model_context" in facts.values:
        facts = facts.with_default("context_limit", facts.values["model_context"])
    known = Known(facts, flags, model, settled, _notes(readings, flags, facts, inputs))
    known = _sized(known, inputs.memory)
    return known._replace(facts=replace(known.facts, conflicts=known.facts.conflicts + conflicts))


def _sized(known: Known, memory: Memory) -> Known:
    """With bytes of tokens and states, and pools planned where no server told them."""
    if known.model is None or known.flags is None:
        return known
    facts, notes, refused = known.facts, list(known.notes), None
    spec, ranks = known.model.spec, known.flags.tp_size // attention_ranks(known.flags) or 1
    try:
        for name, fact in sizes_of(spec, known.flags, ranks).items():
            facts = facts.with_default(name, fact)
    except ConfigError as error:
        return known._replace(refused=str(error))
    except InputError as error:
        return known._replace(notes=(*notes, f"no plan: {error}"))
    budget = None
    try:
        if "kv_tokens" not in facts.values:
            budget = budget_left(known.model.known, known.flags, facts, memory)
            pools = planned_pools(spec, known.flags, facts, budget, cachepawl=known.cachepawl)
            for name, fact in pools.items():
                facts = facts.with_default(name, fact)
        elif not known.cachepawl and not known.flags.enable_unified_memory:
            budget = budget_of_pools(facts)
    except DoesNotFit as error:
        refused = str(error)
    except (ConfigError, InputError) as error:
        notes.append(f"no plan: {error}")
    return known._replace(facts=facts, notes=tuple(notes), budget=budget, refused=refused)


def _readings(inputs: Inputs) -> list[Reading]:
    """Running servers' own words, the most telling first."""
    readings = []
    for option, path, read in (
        ("--server-info", inputs.server_info, read_server_info),
        ("--log", inputs.log, read_log),
        ("--metrics", inputs.metrics, read_metrics),
    ):
        if path is not None:
            with for_option(path, option):
                readings.append(read(path))
    given = (inputs.model, inputs.flags, inputs.launch, *readings, *inputs.words)
    if all(thing is None for thing in given):
        raise InputError(
            "nothing to diagnose: give --model, --flags, --launch, --server-info, --log or "
            "--metrics, any of them"
        )
    return readings


def _command(inputs: Inputs, readings: list[Reading]) -> ServerFlags | None:
    """The launch command: given in one way, else as the server reports it."""
    ways = [inputs.flags is not None, bool(inputs.words), inputs.launch is not None]
    if sum(ways) > 1:
        raise InputError("--flags, --launch and words after -- exclude each other; give one")
    if inputs.flags is not None:
        return flags_of(inputs.flags, "--flags") if inputs.flags.strip() else ServerFlags()
    if inputs.words:
        return flags_of(inputs.words, "words after --")
    if inputs.launch is not None:
        with for_option(inputs.launch, "--launch"):
            return read_launch(inputs.launch)
    reported = next((r for r in readings if r.command), None)
    return None if reported is None else parse_flags(reported.command, reported.source)


def _expected(inputs: Inputs) -> Reading:
    given = {n: v for n, v in (inputs.workload or {}).items() if v is not None}
    facts = {n: Fact(v, f"--{n.replace('_', '-')}") for n, v in given.items()}
    return Reading("options", facts)


def _notes(
    readings: list[Reading], flags: ServerFlags | None, facts: Facts, inputs: Inputs
) -> tuple[str, ...]:
    notes = [
        f"{r.source}: SGLang {r.version}; the rules here are those of {READ_VERSION}"
        for r in readings
        if r.version not in (None, READ_VERSION)
    ]
    unread = [word for word in (flags.rest if flags else ()) if word.startswith("--")]
    if unread:
        names = ", ".join(word.partition("=")[0][:60] for word in unread[:20])
        notes.append(f"flags that no rule here looks at: {names}{' ...' if unread[20:] else ''}")
    told = (inputs.flags, inputs.launch, *readings, *inputs.words)
    if flags is not None and all(thing is None for thing in told):
        notes.append("no flags were given: SGLang's defaults are assumed")
    if flags is not None and flags.page_size is None and facts.get("page_tokens") is None:
        notes.append("no page size is known: 1 is assumed; some attention backends take more")
    return tuple(notes)
