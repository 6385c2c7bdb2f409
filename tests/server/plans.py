"""What a plan says a server holds, and what the server says itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from harness import Server

from cachepawl.offline.sglang.flags import ServerFlags, parse_flags
from cachepawl.offline.sglang.memory import static_plan
from cachepawl.offline.sglang.memory.budget import GIB, rest_budget
from cachepawl.specs import ModelSpec, read_config
from cachepawl_launch.cpu.flags import serve_env

AMPLE = rest_budget(8 * GIB)
"""More than the caps leave a use for, so the machine's memory does not decide."""


class Sizes(NamedTuple):
    """Of one rank."""

    kv_tokens: int
    state_slots: int
    requests: int


def flags_of(server: Server) -> ServerFlags:
    """The flags on its command line, and the variables that all servers here have."""
    chosen = [f"{k}={v}" for k, v in serve_env().items() if k.startswith("SGLANG_MAMBA")]
    return parse_flags([*chosen, *server.process.args])


def spec_of_server(server: Server) -> ModelSpec:
    """The model that it serves, from the checkpoint's own config.json."""
    path = flags_of(server).model_path
    assert path is not None
    return read_config(Path(path))


def reported(server: Server) -> Sizes:
    """By `/server_info`, and the same by the start-up log."""
    state = server.client.state()
    told = Sizes(
        state["memory_usage"]["token_capacity"],
        state["max_mamba_cache_size"] or 0,
        state["effective_max_running_requests_per_dp"],
    )
    logged = re.search(r"max_total_num_tokens=(\d+), .*max_running_requests=(\d+)", server.log)
    assert logged is not None
    assert (told.kv_tokens, told.requests) == tuple(int(n) for n in logged.groups())
    return told


def logged_numbers(server: Server, pattern: str) -> list[int]:
    """All whole numbers that a pattern's one group finds in the log."""
    return [int(n) for n in re.findall(pattern, server.log)]


def planned(server: Server) -> Sizes:
    """By the plan of a stock server, whose flags have to cap tokens and states."""
    plan = static_plan(spec_of_server(server), flags_of(server), AMPLE)
    return Sizes(plan.kv_tokens, plan.state_slots, plan.max_running_requests)
