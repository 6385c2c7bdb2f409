"""A server's log: the lines in which SGLang 0.5.23 says how it divided memory.

Where each line is written: `server_args=` entrypoints/engine.py; `max_total_num_tokens=`
managers/scheduler.py; `Mamba Cache is allocated` and `KV Cache is allocated`
mem_cache/memory_pool.py; host pools mem_cache/pool_host/; usages in batch lines
managers/scheduler_components/pool_stats_observer.py; the cap of running requests
mem_cache/kv_cache_configurator.py.

A log may hold several starts: the last one counts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path

from cachepawl.errors import InputError
from cachepawl.offline.files import numbered_lines
from cachepawl.offline.sglang.inputs.facts import Fact, Number, Reading
from cachepawl.offline.sglang.inputs.server_info import args_facts

_ARGS = re.compile(r"\bserver_args=(\{.*\})\s*$")
_MOST_ARGS = 1 << 20
"""Characters of the arguments' line; a real one has about 25,000."""
_INT = r"(\d{1,15})"
_USAGE = r"(\d{1,3}\.\d+)"
LINES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (
        re.compile(
            rf"\bmax_total_num_tokens={_INT}, chunked_prefill_size=(-?\d{{1,15}}|None), "
            rf"max_prefill_tokens=\d+, max_running_requests={_INT}, context_len={_INT}\b"
        ),
        ("kv_tokens", "chunk_tokens", "running_limit", "context_limit"),
    ),
    (
        # 0 where cachepawl takes the place of the pool.
        re.compile(r"\bMamba Cache is allocated\. max_mamba_cache_size: ([1-9]\d{0,14})\b"),
        ("state_slots",),
    ),
    (re.compile(r"\bLoad weight begin\. avail mem=(\d{1,6}\.\d+) GB"), ("free_before",)),
    (re.compile(r"\bLoad weight end\..*\bavail mem=(\d{1,6}\.\d+) GB"), ("free_after",)),
    (
        re.compile(rf"\bAllocating kv hierarchical KV host pool: {_INT} tokens\b"),
        ("host_kv_tokens",),
    ),
    (
        re.compile(
            rf"\bhost memory for hierarchical Mamba cache \({_INT} state slots\b",
        ),
        ("host_states",),
    ),
    (
        re.compile(rf"\bbatch\b.*\bfull token usage: {_USAGE}, .*\bmamba usage: {_USAGE}"),
        ("kv_usage", "states_usage"),
    ),
)
"""A line's pattern, and the names of the values in its groups."""


def read_log(path: Path) -> Reading:
    """What the last start in a log says.  InputError when nothing in it is SGLang's."""
    facts, args, source = dict[str, Fact](), dict[str, object](), str(path)
    seen = False
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        found = _ARGS.search(line)
        if found is not None:
            seen, source = True, where
            args = server_args(found[1], where)
            facts = args_facts(args, where, "server_args.")
            continue
        for pattern, names in LINES:
            match = pattern.search(line)
            if match is not None:
                seen = True
                facts |= _facts(names, match, where)
    if not seen:
        raise InputError(
            f"{path}: no line of an SGLang server's start in it (server_args=..., "
            f"max_total_num_tokens=...); give the server's log from its first line"
        )
    return Reading(source, facts, args or None)


def _facts(names: tuple[str, ...], match: re.Match[str], where: str) -> dict[str, Fact]:
    texts = zip(names, match.groups(), strict=True)
    return {name: Fact(_number(text), where) for name, text in texts if text != "None"}


def _number(text: str) -> Number:
    return float(text) if "." in text else int(text)


def server_args(text: str, where: str) -> dict[str, object]:
    """The arguments of a `server_args={...}` line; InputError when it is damaged."""
    if len(text) > _MOST_ARGS:
        raise InputError(f"{where}: server_args of {len(text)} characters; is the log damaged?")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise InputError(
            f"{where}: server_args={{...}} cannot be read; the line may be cut; copy the log again"
        ) from None
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InputError(f"{where}: server_args is no mapping of names to values")
    return dict(value)
