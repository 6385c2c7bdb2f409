"""The flags in effect: as a server reports them, as the launch command gives them, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import NamedTuple

from cachepawl.errors import InputError
from cachepawl.offline.sglang.flags import ServerFlags, flag_name, from_mapping
from cachepawl.offline.sglang.inputs.facts import Conflict, Reading

SETTLED: Mapping[str, tuple[object, ...]] = {
    "hicache_host_memory_fraction": (None,),
    "hicache_ratio": (1.2, 2.0),
    "mamba_full_memory_ratio": (0.9,),
    "swa_full_tokens_ratio": (0.8,),
}
"""Values that SGLang settles itself for flags that nobody set."""


class Account(NamedTuple):
    """Flags, where they are from, and which of them it names."""

    source: str
    flags: ServerFlags
    names: frozenset[str]


def flags_in_effect(
    readings: Sequence[Reading], command: ServerFlags | None
) -> tuple[ServerFlags | None, tuple[Conflict, ...], tuple[Conflict, ...]]:
    """The flags in effect, those that SGLang changed, and differences between reports."""
    reports = [
        Account(r.source, _reported(r.server_args, r.source, command), frozenset(r.server_args))
        for r in readings
        if r.server_args is not None
    ]
    if not reports:
        return command, (), ()
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
