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
_COUNTS = {"max_total_num_tokens": "kv_tokens", "context_length": "context_limit",
           "page_size": "page_tokens"}  # fmt: skip
_STATE_COUNTS = {"effective_max_running_requests_per_dp": "running_limit"}


def read_server_info(path: Path) -> Reading:
    """Arguments and pool sizes of a running server.  InputError for any other JSON."""
    answer = read_object(path, _MOST_BYTES)
    if "internal_states" not in answer and "max_total_num_tokens" not in answer:
        hint = "--model" if "model_type" in answer or "architectures" in answer else "another option"
        raise InputError(
            f"{path}: no internal_states and no max_total_num_tokens in it, so it is no "
            f"/server_info answer; give it to {hint}, or save the answer of /server_info"
        )
    state = _first_state(path, answer)
    facts = _counts(path, answer, _COUNTS, "")
    facts |= _counts(path, state, _STATE_COUNTS, "internal_states[0].")
    facts |= _counts(path, state, {"max_mamba_cache_size": "state_slots"}, "internal_states[0].")
    facts |= _chunk(path, answer)
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


def _counts(
    path: Path, holder: Mapping[str, Any], names: Mapping[str, str], inside: str
) -> dict[str, Fact]:
    facts = dict[str, Fact]()
    for field, name in names.items():
        value = holder.get(field)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 10**15:
            raise InputError(
                f"{path}: {inside}{field} is {str(value)[:40]!r}; it must be a whole number above 0"
            )
        facts[name] = Fact(value, f"{path} {inside}{field}")
    return facts


def _chunk(path: Path, answer: Mapping[str, Any]) -> dict[str, Fact]:
    """Chunked prefill may be off, -1."""
    value = answer.get("chunked_prefill_size")
    if value == -1 and not isinstance(value, bool):
        return {"chunk_tokens": Fact(-1, f"{path} chunked_prefill_size")}
    return _counts(path, answer, {"chunked_prefill_size": "chunk_tokens"}, "")


def _command(path: Path, value: object) -> str:
    if value is not None and not isinstance(value, str):
        raise InputError(f"{path}: launch_command must be a text")
    return value or ""
