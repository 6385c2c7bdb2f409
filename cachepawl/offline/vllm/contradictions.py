"""Where a plan and its notes disagree: damaged, edited or mismatched files.

None of this is refused, as the figures do not all depend on it; a reader must know of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cachepawl.offline.vllm.schema import CachePlan, Notes, PlannerNotes, RuntimeNotes

Claim = tuple[str, int | None, str, int | None]
"""Two names with their values, which should be equal where both are known."""


def contradictions(plan: CachePlan, notes: Notes | None) -> list[str]:
    """One line each; none for files that agree."""
    claims = [*_of_plan(plan), *_of_groups(plan), *_of_notes(plan, notes)]
    lines = [
        f"{left} is {a} but {right} is {b}"
        for left, a, right, b in claims
        if a is not None and b is not None and a != b
    ]
    return lines + list(_remarks(plan, notes))


def _of_plan(plan: CachePlan) -> Iterator[Claim]:
    specs = [group.cache_spec for group in plan.groups]
    yield "group_count", plan.group_count, "the number of groups", len(plan.groups)
    layers = sum(group.layers for group in plan.groups)
    yield "layer_count", plan.layer_count, "the sum over the groups", layers
    if None not in plan.kinds:
        found = plan.kinds.count
        attention, mamba = plan.attention_group_count, plan.mamba_group_count
        yield "attention_group_count", attention, "the groups' number", found("attention")
        yield "mamba_group_count", mamba, "the groups' number", found("mamba")
    useful = _sum(spec.useful_bytes for spec in specs)
    yield "total_useful_bytes", plan.total_useful_bytes, "the sum over the groups", useful
    page = _sum(spec.page_size_bytes for spec in specs)
    yield "total_page_size_bytes", plan.total_page_size_bytes, "the sum over the groups", page


def _of_groups(plan: CachePlan) -> Iterator[Claim]:
    for place, group in enumerate(plan.groups):
        yield f"group_index of group {place}", group.group_index, "its place", place
        if group.layer_names is not None:
            named = len(group.layer_names)
            yield f"layer_count of group {place}", group.layer_count, "the names' number", named


def _of_notes(plan: CachePlan, notes: Notes | None) -> Iterator[Claim]:
    blocks = "num_blocks of the plan"
    if isinstance(notes, RuntimeNotes):
        yield "num_blocks of the notes", notes.num_blocks, blocks, plan.num_blocks
        configured = notes.cache_config_num_gpu_blocks
        yield "cache_config_num_gpu_blocks", configured, blocks, plan.num_blocks
        groups, tensors = notes.kv_cache_group_count, notes.kv_cache_tensor_count
        yield "kv_cache_group_count", groups, "the plan's number of groups", len(plan.groups)
        yield "kv_cache_tensor_count", tensors, "the plan's number of tensors", len(plan.tensors)
    if isinstance(notes, PlannerNotes):
        yield "runtime_num_blocks", notes.runtime_num_blocks, blocks, plan.num_blocks
        after = notes.runtime_num_blocks_after_replay
        yield "runtime_num_blocks_after_replay", after, blocks, plan.num_blocks
        for worker, planned in enumerate(notes.planner_output_num_blocks or ()):
            yield f"planner_output_num_blocks[{worker}]", planned, blocks, plan.num_blocks


def _remarks(plan: CachePlan, notes: Notes | None) -> Iterator[str]:
    available = notes.available_bytes if notes is not None else None
    reserved = sum(tensor.size_bytes for tensor in plan.tensors)
    if available is not None and reserved > available:
        yield f"the tensors have {reserved} bytes but {available} were available"
    if isinstance(notes, PlannerNotes):
        if notes.planner_matches_runtime_scheduler is False:
            yield "the planner's plan is not the one that the engine runs with"
        if notes.runtime_changed_during_replay:
            yield "the engine's own plan changed while the planner was asked again"


def _sum(values: Iterable[int | None]) -> int | None:
    known = list(values)
    return None if None in known else sum(v for v in known if v is not None)
