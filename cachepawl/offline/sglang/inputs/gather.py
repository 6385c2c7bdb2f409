"""Any subset of inputs, read and put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

from cachepawl.errors import InputError
from cachepawl.offline.sglang.flags import ServerFlags, flag_name, from_mapping, parse_flags
from cachepawl.offline.sglang.inputs.facts import Conflict, Fact, Facts, Reading, gathered
from cachepawl.offline.sglang.inputs.launch import flags_of, read_launch
from cachepawl.offline.sglang.inputs.log import read_log
from cachepawl.offline.sglang.inputs.metrics import read_metrics
from cachepawl.offline.sglang.inputs.model import Model, read_model
from cachepawl.offline.sglang.inputs.planned import planned_pools
from cachepawl.offline.sglang.inputs.server_info import read_server_info
from cachepawl.offline.sglang.inputs.sizes import sizes_of
from cachepawl.offline.sglang.memory import DoesNotFit

READ_VERSION = "0.5.23"
"""The version of SGLang whose rules are known here."""


SETTLED: Mapping[str, tuple[object, ...]] = {
    "hicache_host_memory_fraction": (None,),
    "hicache_ratio": (1.2, 2.0),
    "mamba_full_memory_ratio": (0.9,),
    "swa_full_tokens_ratio": (0.8,),
}
"""Values that SGLang settles itself for flags that nobody set."""


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


class Known(NamedTuple):
    """Facts, flags and model, with what else is worth telling about the inputs."""

    facts: Facts
    flags: ServerFlags | None
    model: Model | None
    settled: tuple[Conflict, ...]
    """Flags that SGLang changed at start."""
    notes: tuple[str, ...]
    refused: str | None = None
    """Why the memory holds no request, if it does not."""

    @property
    def cachepawl(self) -> bool:
        """Whether the server runs cachepawl's cache."""
        flags = self.flags
        if flags is None:
            return False
        ours = flags.given & {"cachepawl_device_gb", "cachepawl_policy"}
        named = "cachepawl.launch_server" in flags.rest or flags.radix_cache_backend == "cachepawl"
        return bool(ours) or named


def gather(inputs: Inputs) -> Known:
    """Read all inputs.  InputError when there are none, or one cannot be read."""
    model = None if inputs.model is None else read_model(inputs.model)
    readings = _readings(inputs)
    command = _command(inputs, readings)
    flags, settled, conflicts = _flags(readings, command, model)
    facts = gathered([_expected(inputs), *readings, *([] if model is None else [model.reading])])
    if flags is not None and flags.context_length is not None:
        facts = facts.with_default("context_limit", Fact(flags.context_length, "--context-length"))
    if "model_context" in facts.values:
        facts = facts.with_default("context_limit", facts.values["model_context"])
    known = Known(facts, flags, model, settled, _notes(readings, flags, inputs))
    known = _sized(known)
    return known._replace(facts=replace(known.facts, conflicts=known.facts.conflicts + conflicts))


def _sized(known: Known) -> Known:
    """With bytes of tokens and states, and pools planned where no server told them."""
    if known.model is None or known.flags is None:
        return known
    facts, notes, refused = known.facts, list(known.notes), None
    spec, ranks = known.model.spec, known.flags.tp_size // attention_ranks(known.flags) or 1
    try:
        for name, fact in sizes_of(spec, known.flags, ranks).items():
            facts = facts.with_default(name, fact)
        if "kv_tokens" not in facts.values:
            pools = planned_pools(spec, known.flags, facts, known.cachepawl)
            for name, fact in pools.items():
                facts = facts.with_default(name, fact)
    except DoesNotFit as error:
        refused = str(error)
    except InputError as error:
        notes.append(f"no plan: {error}")
    return known._replace(facts=facts, notes=tuple(notes), refused=refused)


def attention_ranks(flags: ServerFlags) -> int:
    """Groups of ranks with attention and pools of their own."""
    if flags.attn_dp_size > 1:
        return flags.attn_dp_size
    return flags.dp_size if flags.enable_dp_attention else 1


def _readings(inputs: Inputs) -> list[Reading]:
    """Running servers' own words, the most telling first."""
    readings = []
    if inputs.server_info is not None:
        readings.append(read_server_info(inputs.server_info))
    if inputs.log is not None:
        readings.append(read_log(inputs.log))
    if inputs.metrics is not None:
        readings.append(read_metrics(inputs.metrics))
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
        return parse_flags(inputs.words, "words after --")
    if inputs.launch is not None:
        return read_launch(inputs.launch)
    reported = next((r for r in readings if r.command), None)
    return None if reported is None else parse_flags(reported.command, reported.source)


def _flags(
    readings: list[Reading], command: ServerFlags | None, model: Model | None
) -> tuple[ServerFlags | None, tuple[Conflict, ...], tuple[Conflict, ...]]:
    """The flags in effect, those that SGLang changed, and differences between reports."""
    reports = [
        (r.source, _reported(r.server_args, r.source, command))
        for r in readings
        if r.server_args is not None
    ]
    if not reports:
        defaults = ServerFlags() if model is not None and not readings else None
        return command or defaults, (), ()
    source, flags = reports[0]
    conflicts = tuple(c for other in reports[1:] for c in _differences(reports[0], other))
    if command is None:
        return flags, (), conflicts
    settled = tuple(
        change
        for change in _differences((source, flags), ("launch command", command))
        if change.name in {flag_name(name) for name in command.given}
    )
    flags = replace(flags, environment=command.environment, rest=command.rest)
    return flags, settled, conflicts


def _reported(args: Mapping[str, object], source: str, command: ServerFlags | None) -> ServerFlags:
    """Arguments as resolved; without a command, what SGLang settles itself was not given."""
    if command is not None:
        return from_mapping(args, source, given=command.given)
    flags = from_mapping(args, source)
    own = {name for name, values in SETTLED.items() if getattr(flags, name) in values}
    return replace(flags, given=flags.given - own)


def _differences(one: tuple[str, ServerFlags], other: tuple[str, ServerFlags]) -> list[Conflict]:
    """Flags that two accounts give differently."""
    (source, flags), (other_source, others) = one, other
    names = [f.name for f in fields(ServerFlags) if f.name not in ("given", "rest", "environment")]
    return [
        Conflict(flag_name(n), getattr(flags, n), source, getattr(others, n), other_source)
        for n in names
        if getattr(flags, n) != getattr(others, n)
    ]


def _expected(inputs: Inputs) -> Reading:
    given = {n: v for n, v in (inputs.workload or {}).items() if v is not None}
    facts = {n: Fact(v, f"--{n.replace('_', '-')}") for n, v in given.items()}
    return Reading("options", facts)


def _notes(readings: list[Reading], flags: ServerFlags | None, inputs: Inputs) -> tuple[str, ...]:
    notes = [
        f"{r.source}: SGLang {r.version}; the rules here are those of {READ_VERSION}"
        for r in readings
        if r.version not in (None, READ_VERSION)
    ]
    told = (inputs.flags, inputs.launch, *readings, *inputs.words)
    if flags is not None and all(thing is None for thing in told):
        notes.append("no flags were given: SGLang's defaults are assumed")
    return tuple(notes)
