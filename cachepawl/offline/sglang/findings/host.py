"""H3, H8, H11: the host tier (HiCache): its split, what unified memory asks, and ranks."""

from __future__ import annotations

from cachepawl.offline.sglang.findings.case import Case
from cachepawl.offline.sglang.findings.finding import Change, Finding, Severity
from cachepawl.offline.sglang.findings.words import gib, grouped, percent
from cachepawl.offline.sglang.inputs.facts import Missing

DEFAULT_RATIO = 2.0
RESERVE = 10 << 30
"""Bytes of host memory that SGLang leaves alone (`HICACHE_HOST_MEMORY_RESERVE_BYTES`)."""
MOST_EMPTY = 0.10
"""Share of the host KV that may stay unreachable before H3 speaks."""
NEARLY_FULL = 0.95


def host_ratio(case: Case) -> float:
    given = case.flags.hicache_ratio
    return DEFAULT_RATIO if given is None else given


def host_pools(case: Case) -> tuple[int, int]:
    """Host KV in tokens and host states in slots of one rank: as seen, else as SGLang sizes them.

    A size is divided by the device pools' bytes, a ratio multiplies both; each pool gets one
    page or slot more (mem_cache/pool_host/base.py, mamba.py).
    """
    tokens, slots = case.facts.get("host_kv_tokens"), case.facts.get("host_states")
    if tokens is not None and slots is not None:
        return round(tokens), round(slots)
    kv, states, page = case.count("kv_tokens"), case.count("state_slots"), case.page_size
    if case.flags.hicache_size > 0:
        entry, state = case.need("entry_bytes"), case.need("state_bytes")
        share = (kv + page) * entry / ((kv + page) * entry + states * state)
        size = case.flags.hicache_size * 1e9
        kv, states = int(size * share // entry), int(size * (1 - share) // state)
    else:
        ratio = host_ratio(case)
        kv, states = int(kv * ratio), int(states * ratio)
    return (kv // page + 1) * page, states + 1


def states_before_host_kv(case: Case) -> Finding | None:
    """H3: host states run out while host KV is still empty."""
    if not (case.flags.enable_hierarchical_cache and case.static_states):
        return None
    if case.flags.hicache_host_memory_mode != "cache":
        return None
    seen = _seen_starved(case)
    if seen is not None:
        return seen
    prompt, answer = case.workload
    each = case.states_of(prompt, answer)
    tokens, slots = host_pools(case)
    reach = slots * (prompt + answer) // each if each else tokens
    empty = 1 - reach / tokens
    if empty <= MOST_EMPTY:
        return None
    return Finding(
        "H3",
        "Host states run out before host KV",
        Severity.WARNING,
        "host memory is divided at start in the proportion of the device pools; KV on the host "
        "is of use only with a state at its end, so KV beyond the last host state is never hit",
        {
            "host_kv_tokens": tokens,
            "host_states": slots,
            "states_of_a_sequence": each,
            "tokens_of_a_sequence": prompt + answer,
            "reachable_tokens": reach,
            "share_unreachable": empty,
        },
        f"{grouped(slots)} host states // {each} a sequence x {grouped(prompt + answer)} tokens = "
        f"{grouped(reach)} of {grouped(tokens)} host tokens; {percent(empty)} stay unreachable",
        "the host follows the device's proportion: change that, or leave fewer states a sequence",
        _balance_host(case, each),
    )


def _balance_host(case: Case, each: int) -> tuple[Change, ...]:
    prompt, answer = case.workload
    entry, state = case.facts.get("entry_bytes"), case.facts.get("state_bytes")
    changes = []
    if entry and state:
        ratio = each * state / ((prompt + answer) * entry)
        changes.append(Change("--mamba-full-memory-ratio", f"{ratio:.3g}"))
    if each > 1:
        changes.append(Change("--mamba-max-states-per-path", "1"))
    return tuple(changes)


def _seen_starved(case: Case) -> Finding | None:
    """The same as a scrape shows it."""
    names = ("host_states", "host_states_used", "host_kv_tokens", "host_kv_used")
    states, states_used, tokens, tokens_used = (case.facts.get(name) for name in names)
    if not states or states_used is None or not tokens or tokens_used is None:
        return None
    if states_used < NEARLY_FULL * states or tokens_used > (1 - MOST_EMPTY) * tokens:
        return None
    return Finding(
        "H3",
        "Host states are full while host KV is not",
        Severity.ERROR,
        "KV on the host is of use only with a state at its end",
        {
            "host_states": states,
            "host_states_used": states_used,
            "host_kv_tokens": tokens,
            "host_kv_used": tokens_used,
        },
        f"{grouped(states_used)} of {grouped(states)} host states are used, and "
        f"{percent(1 - tokens_used / tokens)} of the host KV is empty",
        "give states a larger share of the device, which the host follows, or leave fewer states",
        (Change("--mamba-full-memory-ratio", f"{case.ratio * 2:.3g}"),),
    )


def unified_host_demand(case: Case) -> Finding | None:
    """H8: with unified memory the host's state pool is sized by the whole device buffer."""
    flags = case.flags
    if not (flags.enable_unified_memory and flags.enable_hierarchical_cache):
        return None
    if not case.has_states or flags.hicache_size > 0:
        return None
    entry, state = case.count("entry_bytes"), case.count("state_bytes")
    tokens, slots, ratio = case.count("kv_tokens"), case.count("state_slots"), host_ratio(case)
    device = tokens * entry + slots * state
    every = device // state - 1
    page = case.page_size
    kv = (int(tokens * ratio) // page + 1) * page * entry
    demand = kv + (int(every * ratio) + 1) * state
    automatic = flags.hicache_ratio is None
    return Finding(
        "H8",
        "Unified memory makes the host tier ask for the device's buffer twice",
        Severity.WARNING,
        "the host state pool is sized by the most states that the shared buffer could ever hold, "
        "the host KV pool by its tokens; both are multiplied by --hicache-ratio"
        + (", which SGLang lowers until the pools fit the host" if automatic else ""),
        {
            "device_bytes": device,
            "host_bytes_wanted": demand,
            "hicache_ratio": ratio,
            "states_of_whole_buffer": every,
            "times_device": demand / device,
        },
        f"{ratio:g} x ({grouped(tokens)} tokens x {grouped(entry)} B + {grouped(every)} states x "
        f"{grouped(state)} B) = {gib(demand)} a rank, {demand / device:.2f} x the device's "
        f"{gib(device)}",
        "say the host's size in GB a rank instead of a ratio",
        (Change("--hicache-size", str(max(1, round(device * ratio / 1e9)))),),
    )


def host_over_ranks(case: Case) -> Finding | None:
    """H11: every rank has a host pool of its own; copied KV heads are kept once a rank."""
    flags = case.flags
    if not flags.enable_hierarchical_cache:
        return None
    ranks = _ranks_on_host(case)
    if ranks == 1:
        return None
    copies = round(case.facts.get("kv_copies") or 1)
    size = _host_bytes_of_rank(case)
    total, memory = ranks * size, case.facts.get("host_bytes")
    free = None if memory is None else memory - RESERVE
    over = free is not None and total > free
    if copies == 1 and not over and flags.hicache_size == 0:
        return None
    fits = "" if free is None else f"; the host has {gib(free)} beside SGLang's reserve of 10 GiB"
    per_rank = max(1, int(((free or total) // ranks) / 1e9)) if over or copies == 1 else None
    changes = [] if per_rank is None else [Change("--hicache-size", str(per_rank))]
    if copies > 1:
        changes.append(Change("--tp-size", str(max(1, flags.tp_size // copies))))
    return Finding(
        "H11",
        "Host memory is taken once a rank",
        Severity.ERROR if over else Severity.WARNING if copies > 1 else Severity.INFO,
        "--hicache-size and --hicache-ratio are per rank; with fewer KV heads than ranks (or one "
        "latent for all heads) the ranks keep copies of the same KV",
        {
            "ranks_on_host": ranks,
            "host_bytes_of_rank": size,
            "host_bytes_total": total,
            "copies_of_kv": copies,
        },
        f"{ranks} ranks x {gib(size)} = {gib(total)}"
        + (f", of which KV {copies} times the same" if copies > 1 else "")
        + fits,
        "size the tier for one rank's share of the host",
        tuple(changes),
    )


def _ranks_on_host(case: Case) -> int:
    """Ranks that share a host's memory, as SGLang counts them (pool_host/base.py)."""
    flags = case.flags
    engines = 1 if flags.enable_dp_attention else flags.dp_size
    return max(1, flags.tp_size * flags.pp_size * engines // flags.nnodes)


def _host_bytes_of_rank(case: Case) -> int:
    """Bytes of one rank's host pools."""
    if case.flags.hicache_size > 0:
        return int(case.flags.hicache_size * 1e9)
    if case.facts.get("host_kv_tokens") is None and case.facts.get("kv_tokens") is None:
        raise Missing("sizes of the pools (--log, --server-info, --metrics, or --gpu)")
    if not case.has_states:
        return int(case.count("kv_tokens") * host_ratio(case)) * case.count("entry_bytes")
    tokens, slots = host_pools(case)
    return tokens * case.count("entry_bytes") + slots * case.count("state_bytes")
