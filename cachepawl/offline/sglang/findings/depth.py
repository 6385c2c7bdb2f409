"""H4, H7, H14, H16: depths at which snapshots can be taken, against prompts and answers."""

from __future__ import annotations

from cachepawl.offline.sglang.findings.case import Case
from cachepawl.offline.sglang.findings.finding import Change, Finding, Severity
from cachepawl.offline.sglang.findings.words import grouped, percent


def cache_is_inert(case: Case) -> Finding | None:
    """H4: prompts, or all requests, are too short to leave anything that can be reused."""
    if case.flags.disable_radix_cache:
        return None
    unit = case.grid if case.has_states else case.tree_page
    longest, prompt = case.facts.get("context_limit"), case.facts.get("typical_prompt")
    if longest is None and prompt is None:
        case.need("typical_prompt")
    if longest is not None and longest <= unit:
        length, severity, what = longest, Severity.ERROR, "the longest request"
    elif prompt is not None and prompt <= unit:
        length, severity, what = prompt, Severity.WARNING, "the typical prompt"
    else:
        return None
    state_chunk = case.count("state_chunk") if case.has_states and case.tracked else 1
    smaller = case.page_size > max(1, state_chunk)
    kind = "the snapshot grid" if case.has_states else "a page"
    return Finding(
        "H4",
        "Prompts are shorter than what can be cached",
        severity,
        "a prefix is reused in whole pages, and with states at snapshot depths only: multiples of "
        "lcm(max(state chunk, page), page of the tree); at least one token is always computed",
        {
            "unit_tokens": unit,
            "page_size": case.page_size,
            "dcp_size": case.flags.dcp_size,
            "state_chunk": state_chunk,
            "length": length,
        },
        f"{what}, {grouped(length)} tokens, is at most {kind} of {grouped(unit)} tokens: "
        f"0 tokens can be reused",
        "use a smaller page" if smaller else "nothing to gain: the model's states step by this",
        (Change("--page-size", str(max(1, state_chunk))),) if smaller else (),
    )


def answers_not_cached(case: Case) -> Finding | None:
    """H7: answers shorter than the track grid leave no state, so the next turn redoes them."""
    if not case.has_states or not case.tracked:
        return None
    answer, step = case.need("typical_answer"), case.track_grid
    if answer >= step:
        return None
    chance = answer / step
    # The least multiple of the grid that a draft allows.
    better = -(-(case.flags.speculative_num_draft_tokens or 1) // case.grid) * case.grid
    return Finding(
        "H7",
        "Answers that leave no state are computed again",
        Severity.WARNING if chance < 0.5 else Severity.INFO,
        "in decode a state is taken only where the sequence's length is a multiple of "
        "lcm(grid, --mamba-track-interval); an answer that crosses none leaves nothing, and the "
        "next turn computes it again",
        {
            "typical_answer": answer,
            "mamba_track_interval": case.flags.mamba_track_interval,
            "grid": case.grid,
            "track_grid": step,
            "chance_of_a_state": chance,
        },
        f"{grouped(answer)} tokens of answer / {grouped(step)} tokens between states = "
        f"{percent(chance)} of the answers leave a state (starts spread evenly)",
        "take states more often in decode"
        if better < step
        else "the grid itself is this coarse: a smaller page helps where the page sets it",
        (Change("--mamba-track-interval", str(better)),) if better < step else (),
    )


def chunk_below_grid(case: Case) -> Finding | None:
    """H14: prefill chunks that reach no grid point, or leave it."""
    if not case.has_states or not case.tracked:
        return None
    chunk, grid = case.chunk, case.grid
    if chunk is None or (chunk >= grid and chunk % grid == 0):
        return None
    below = chunk < grid
    return Finding(
        "H14",
        "Prefill chunks are shorter than the snapshot grid"
        if below
        else "Prefill chunks do not end on the snapshot grid",
        Severity.ERROR if below else Severity.WARNING,
        "a forward that computes fewer tokens than the grid takes no state; one that starts off "
        "the grid takes its states off the grid too, where branch points (always on the grid) "
        "cannot be taken",
        {"chunk_tokens": chunk, "grid": grid, "off": chunk % grid},
        f"{grouped(chunk)} < {grouped(grid)}: no chunk of a long prompt leaves a state"
        if below
        else f"{grouped(chunk)} mod {grouped(grid)} = {chunk % grid}: the second and later chunks "
        f"start off the grid",
        "make the chunk a multiple of the grid",
        (Change("--chunked-prefill-size", str(max(grid, chunk // grid * grid))),),
    )


def prompt_on_grid(case: Case) -> Finding | None:
    """H16: a prompt that ends exactly on the grid is not hit by its repetition."""
    if not case.has_states or not case.tracked:
        return None
    prompt, grid = case.need("typical_prompt"), case.grid
    if prompt < grid or prompt % grid:
        return None
    length, chunk = round(prompt), case.chunk or round(prompt)
    before = (length - 1) // chunk * chunk // grid * grid
    return Finding(
        "H16",
        "Repeated prompts that end on the snapshot grid miss their own state",
        Severity.INFO,
        "the only state of a prefill forward lies at its last grid point; a repeated prompt may "
        "use one up to its last token but one, so a state at its very end is of no use to it",
        {"typical_prompt": length, "grid": grid, "reused": before},
        f"{grouped(length)} mod {grouped(grid)} = 0: the state is at {grouped(length)}, usable are "
        f"depths up to {grouped(length - 1)}; the deepest state below is at {grouped(before)}",
        f"seen with fixed-length benchmarks: measure with {grouped(length + 1)} tokens as well",
    )
