"""Any subset of inputs, read and put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

from cachepawl.errors import ConfigError, InputError
from cachepawl.offline.sglang.flags import ServerFlags, flag_name, from_mapping, parse_flags
from cachepawl.offline.sglang.inputs.facts import Conflict, Fact, Facts, Reading, gathered
from cachepawl.offline.sglang.inputs.kinds import for_option
from cachepawl.offline.sglang.inputs.launch import flags_of, read_launch
from cachepawl.offline.sglang.inputs.log import read_log
from cachepawl.offline.sglang.inputs.metrics import read_metrics
from cachepawl.offline.sglang.inputs.model import Model, read_model
from cachepawl.offline.sglang.inputs.planned import UNKNOWN, Memory, planned_pools
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
    memory: Memory = UNKNOWN


class Account(NamedTuple):
    """Flags, where they are from, and which of them it names."""

    source: str
    flags: ServerFlags
    names: frozenset[str]


class Known(NamedTuple):
    """Facts, flags and model, with what else is worth telling about the inputs."""

    facts: Facts
    flags: ServerFlags | None
    model: Model | None
    settled: tuple[Conflict, ...]
    """Flags that SGLang changed at start."""
    notes: tuple[str, ...]
    refused: str | None = None
    """Why the ranks or the memory cannot hold the model and one request, if they cannot."""

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
    model = None
    if inputs.model is not None:
        with for_option(Path(inputs.model), "--model"):
            model = read_model(inputs.model)
    readings = _readings(inputs)
    command = _command(inputs, readings)
    flags, settled, conflicts = _flags(readings, command, model)
    if flags is not None:
        check_counts(flags)
    facts = gathered([_expected(inputs), *readings, *([] if model is None else [model.reading])])
    if flags is not None and flags.context_length is not None:
        facts = facts.with_default("context_limit", Fact(flags.context_length, "--context-length"))
    if "model_context" in facts.values:
        facts = facts.with_default("context_limit", facts.values["model_context"])
    known = Known(facts, flags, model, settled, _notes(readings, flags, inputs))
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
    try:
        if "kv_tokens" not in facts.values:
            pools = planned_pools(
                known.model.known, known.flags, facts, memory, cachepawl=known.cachepawl
            )
            for name, fact in pools.items():
                facts = facts.with_default(name, fact)
    except DoesNotFit as error:
        refused = str(error)
    except (ConfigError, InputError) as error:
        notes.append(f"no plan: {error}")
    return known._replace(facts=facts, notes=tuple(notes), refused=refused)


_AT_LEAST_1 = (
    "tp_size",
    "pp_size",
    "dp_size",
    "attn_dp_size",
    "attn_cp_size",
    "dcp_size",
    "nnodes",
    "page_size",
    "context_length",
    "mamba_track_interval",
    "max_total_tokens",
    "max_running_requests",
    "max_mamba_cache_size",
    "int8_mamba_ckpt_size",
    "speculative_num_draft_tokens",
)
_ABOVE_0 = ("mamba_full_memory_ratio", "hicache_ratio", "mem_fraction_static")
_MOST = 10**15


def check_counts(flags: ServerFlags) -> None:
    """InputError for a number that no server takes."""
    for name in (*_AT_LEAST_1, *_ABOVE_0, "hicache_size"):
        value = getattr(flags, name)
        if value is None:
            continue
        least = 1 if name in _AT_LEAST_1 else 0
        if not least <= value <= _MOST or (name in _ABOVE_0 and value == 0):
            allowed = "above 0" if name in _ABOVE_0 else f"at least {least}"
            raise InputError(f"{flag_name(name)} {value}: give a number {allowed}")


def attention_ranks(flags: ServerFlags) -> int:
    """Groups of ranks with attention and pools of their own."""
    if flags.attn_dp_size > 1:
        return flags.attn_dp_size
    return flags.dp_size if flags.enable_dp_attention else 1


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
        return parse_flags(inputs.words, "words after --")
    if inputs.launch is not None:
        with for_option(inputs.launch, "--launch"):
            return read_launch(inputs.launch)
    reported = next((r for r in readings if r.command), None)
    return None if reported is None else parse_flags(reported.command, reported.source)


def _flags(
    readings: list[Reading], command: ServerFlags | None, model: Model | None
) -> tuple[ServerFlags | None, tuple[Conflict, ...], tuple[Conflict, ...]]:
    """The flags in effect, those that SGLang changed, and differences between reports."""
    reports = [
        Account(r.source, _reported(r.server_args, r.source, command), frozenset(r.server_args))
        for r in readings
        if r.server_args is not None
    ]
    if not reports:
        defaults = ServerFlags() if model is not None and not readings else None
        return command or defaults, (), ()
    flags = reports[0].flags
    conflicts = tuple(c for other in reports[1:] for c in _differences(reports[0], other))
    if command is None:
        return flags, (), conflicts
    typed = Account("launch command", command, command.given)
    settled = tuple(_differences(reports[0], typed))
    flags = replace(flags, environment=command.environment, rest=command.rest)
    return flags, settled, conflicts


def _reported(args: Mapping[str, object], source: str, command: ServerFlags | None) -> ServerFlags:
    """Arguments as resolved; without a command, what SGLang settles itself was not given."""
    if command is not None:
        return from_mapping(args, source, given=command.given)
    flags = from_mapping(args, source)
    own = {name for name, values in SETTLED.items() if getattr(flags, name) in values}
    return replace(flags, given=flags.given - own)


def _differences(one: Account, other: Account) -> list[Conflict]:
    """Flags that both accounts name and give differently."""
    names = [f.name for f in fields(ServerFlags) if f.name in one.names & other.names]
    return [
        Conflict(
            flag_name(name),
            getattr(one.flags, name),
            one.source,
            getattr(other.flags, name),
            other.source,
        )
        for name in names
        if getattr(one.flags, name) != getattr(other.flags, name)
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
