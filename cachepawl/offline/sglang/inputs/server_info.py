"""The answer of `/server_info` (or `/get_server_info`): arguments as resolved, and pools.

The fields are those of SGLang 0.5.23, `entrypoints/http_server.py` and
`managers/scheduler_components/internal_state.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cachepawl.errors import InputError
from cachepawl.offline.sglang.inputs.facts import Fact, Reading
from cachepawl.offline.strict_json import read_object

_MOST_BYTES = 64 << 20
_ARGS = {"context_length": "context_limit", "page_size": "page_tokens"}
_STATE = {
    "effective_max_running_requests_per_dp": "running_limit",
    "max_mamba_cache_size": "state_slots",
}


def read_server_info(path: Path) -> Reading:
    """Arguments and pool sizes of a running server.  InputError for any other JSON."""
    answer = read_object(path, _MOST_BYTES)
    if "internal_states" not in answer and "max_total_num_tokens" not in answer:
        raise InputError(
            f"{path}: no internal_states and no max_total_num_tokens in it; give the answer of "
            f"/server_info"
        )
    state = _first_state(path, answer)
    facts = _counts(str(path), answer, {"max_total_num_tokens": "kv_tokens"}, "")
    facts |= _counts(str(path), state, _STATE, "internal_states[0].")
    facts |= args_facts(answer, str(path), "")
    version = answer.get("version")
    return Reading(
        str(path),
        facts,
        answer,
        _command(path, answer.get("launch_command")),
        version if isinstance(version, str) else None,
    )


def _first_state(path: Path, answer: Mapping[str, Any]) -> dict[str, Any]:
    """The first scheduler's view; all of them are sized alike."""
    states = answer.get("internal_states", [])
    if not isinstance(states, list) or not all(isinstance(s, dict) for s in states):
        raise InputError(f"{path}: internal_states must be a list of objects")
    return states[0] if states else {}


def args_facts(args: Mapping[str, Any], where: str, inside: str) -> dict[str, Fact]:
    """What resolved arguments say of lengths; InputError for a length that is none."""
    facts = _counts(where, args, _ARGS, inside)
    chunk = args.get("chunked_prefill_size")
    if type(chunk) is int and chunk <= 0:  # no limit
        return facts | {"chunk_tokens": Fact(-1, f"{where} {inside}chunked_prefill_size")}
    return facts | _counts(where, args, {"chunked_prefill_size": "chunk_tokens"}, inside)


def _counts(
    where: str, holder: Mapping[str, Any], names: Mapping[str, str], inside: str
) -> dict[str, Fact]:
    facts = dict[str, Fact]()
    for field, name in names.items():
        value = holder.get(field)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 10**15:
            raise InputError(
                f"{where}: {inside}{field} is {str(value)[:40]!r}; it must be a whole number "
                f"above 0"
            )
        facts[name] = Fact(value, f"{where} {inside}{field}")
    return facts


def _command(path: Path, value: object) -> str:
    if value is not None and not isinstance(value, str):
        raise InputError(f"{path}: launch_command must be a text")
    return value or ""
