"""H1, H2, H6: state slots that run out before KV, and what running requests take of them."""

from __future__ import annotations

from cachepawl.offline.sglang.findings.balance import ratio_for_slots, ratio_for_tokens_a_state
from cachepawl.offline.sglang.findings.case import Case
from cachepawl.offline.sglang.findings.finding import Change, Finding, Severity
from cachepawl.offline.sglang.findings.words import grouped, percent

MOST_HELD = 0.5
"""Share of the state pool that running requests may take before H2 speaks."""


def states_before_kv(case: Case) -> Finding | None:
    """H1: the states of all the sequences that KV can hold need more slots than there are."""
    if not case.static_states or case.flags.disable_radix_cache:
        return None
    prompt, answer = case.workload
    tokens, running = case.count("kv_tokens"), case.running
    each = case.states_of(prompt, answer)
    slots = case.cache_slots(running)
    sequences = tokens // max(1, prompt + answer)
    wanted = sequences * each
    if not each or not sequences or wanted <= slots:
        return None
    gone = slots < each
    reach = max(0, slots) * (prompt + answer) // each
    return Finding(
        "H1",
        "States run out before KV: branches find KV and no state",
        Severity.ERROR if gone else Severity.WARNING,
        "a prefix is reused only where a state exists; SGLang takes one a prefill forward and "
        "evicts states by LRU on their own, so when the states of all sequences that KV can hold "
        "exceed the slots, sequences that come round in turn find KV without a state: no reuse",
        {
            "kv_tokens": tokens,
            "tokens_of_a_sequence": prompt + answer,
            "states_of_a_sequence": each,
            "sequences_in_kv": sequences,
            "states_wanted": wanted,
            "slots_for_the_cache": slots,
            "reusable_tokens": min(reach, tokens),
        },
        f"{grouped(tokens)} tokens // {grouped(prompt + answer)} = {grouped(sequences)} sequences "
        f"x {each} states = {grouped(wanted)} states > {grouped(slots)} slots "
        f"({grouped(case.count('state_slots'))} - {running} running x {case.slots_held} held)",
        f"about {grouped(min(reach, tokens))} of {grouped(tokens)} cached tokens stay usable; "
        f"give states more bytes, or leave fewer states a sequence",
        _fewer_states(case, sequences, slots, each),
    )


def _fewer_states(case: Case, sequences: int, slots: int, each: int) -> tuple[Change, ...]:
    """Flags that bring states and KV back together."""
    prompt, answer = case.workload
    changes = []
    ratio = ratio_for_tokens_a_state(case, (prompt + answer) / each, case.running * case.slots_held)
    if ratio is not None:
        changes.append(Change("--mamba-full-memory-ratio", f"{ratio:.3g}"))
    fewer = slots // sequences
    if 1 <= fewer < each:
        changes.append(Change("--mamba-max-states-per-path", str(fewer)))
    if case.chunk is not None and prompt > case.chunk:
        changes.append(Change("--chunked-prefill-size", str(min(prompt, 2 * case.chunk))))
    return tuple(changes)


def held_by_running(case: Case) -> Finding | None:
    """H2: at full load running requests hold or lock most of the state slots."""
    if not case.static_states or case.flags.disable_radix_cache:
        return None
    if case.flags.enable_int8_mamba_checkpoint:
        return None  # cached states have a pool of their own
    slots, running = case.count("state_slots"), case.running
    each = case.slots_held + case.slots_locked
    taken = running * each
    if taken <= MOST_HELD * slots:
        return None
    fewer = int(MOST_HELD * slots) // each
    changes = [Change("--max-running-requests", str(fewer))] if fewer else []
    ratio = ratio_for_slots(case, int(taken / MOST_HELD))
    # Where slots cap the requests, more slots would only let more of them run.
    if ratio is not None and running < slots // case.slots_reserved:
        changes.append(Change("--mamba-full-memory-ratio", f"{ratio:.3g}"))
    if case.strategy == "extra_buffer":
        changes.append(Change("--mamba-radix-cache-strategy", "extra_buffer_lazy"))
    return Finding(
        "H2",
        "Running requests take the state slots that the cache would need",
        Severity.ERROR if taken >= slots else Severity.WARNING,
        "a running request owns its active slot and its tracking slots, and locks the cached "
        "state that it came from; none of them can hold another prefix",
        {
            "state_slots": slots,
            "running_limit": running,
            "slots_held": case.slots_held,
            "slots_locked": case.slots_locked,
            "slots_reserved": case.slots_reserved,
            "slots_taken": taken,
            "share_taken": taken / slots,
        },
        f"{running} running x ({case.slots_held} held + {case.slots_locked} locked) = "
        f"{grouped(taken)} of {grouped(slots)} slots, {percent(taken / slots)}; for the cache "
        f"{grouped(max(0, slots - taken))}",
        f"run at most {fewer} requests at once, or give states more slots"
        if fewer
        else "give states more slots",
        tuple(changes),
    )


def capped_by_states(case: Case) -> Finding | None:
    """H6: fewer requests run at once than are wanted, for lack of state slots."""
    if not case.has_states or case.cachepawl:
        return None  # with unified memory too: the count made at start still caps requests
    slots, reserved = case.count("state_slots"), case.slots_reserved
    cap = slots // reserved
    ranks = case.attention_ranks
    asked = case.facts.get("concurrency") or case.flags.max_running_requests
    if asked is None:
        case.need("concurrency")
    wanted = max(1, round(asked or 0) // ranks)
    if cap >= wanted:
        return None
    needed = wanted * reserved
    ratio = ratio_for_slots(case, needed)
    changes = [] if ratio is None else [Change("--mamba-full-memory-ratio", f"{ratio:.3g}")]
    if case.flags.max_mamba_cache_size is not None:
        changes = [Change("--max-mamba-cache-size", str(needed * ranks))]
    if case.flags.mamba_ssm_dtype in (None, "float32"):
        changes.append(Change("--mamba-ssm-dtype", "bfloat16"))
    return Finding(
        "H6",
        "max_running_requests is capped by state slots",
        Severity.ERROR if cap == 0 else Severity.WARNING,
        f"SGLang runs at most state slots // {reserved} requests at once, whatever "
        f"--max-running-requests says",
        {
            "state_slots": slots,
            "slots_reserved": reserved,
            "cap": cap,
            "wanted": wanted,
            "slots_needed": needed,
        },
        f"{grouped(slots)} slots // {reserved} = {cap} requests < {grouped(wanted)} wanted; "
        f"{grouped(wanted)} x {reserved} = {grouped(needed)} slots would be needed",
        "give states more slots or make them smaller (bfloat16 halves the recurrent part)",
        tuple(changes),
    )
