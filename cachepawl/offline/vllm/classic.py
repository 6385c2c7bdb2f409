"""The classic figures, kept so that reports stay comparable.

    reserved = sum of the tensors' bytes        useful = total_useful_bytes * num_blocks
    ratio    = reserved / useful                wasted = (reserved - useful) / reserved, in [0, 1]

`total_useful_bytes` has one layer of each group in it and `reserved` all layers of one group, so
their quotient is no waste that could occur; `exact` says what can.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import NamedTuple

from cachepawl.offline.vllm.records import Coverage, Described, GroupAdvisory, GroupProposal
from cachepawl.offline.vllm.schema import CachePlan, Group, Notes


class Figures(NamedTuple):
    """Bytes, and what follows from them; null where an input is missing or a divisor is 0."""

    reserved: int | None
    useful: int | None
    savings: int | None
    ratio: float | None
    wasted: float | None


def classic_figures(plan: CachePlan) -> Figures:
    """The figures of the whole plan."""
    reserved = sum(t.size_bytes for t in plan.tensors) if plan.tensors else None
    return _figures(reserved, _times(plan.total_useful_bytes, plan.num_blocks))


def _figures(reserved: int | None, useful: int | None) -> Figures:
    if reserved is None or useful is None:
        return Figures(reserved, useful, None, None, None)
    ratio = reserved / useful if useful else None
    wasted = min(max((reserved - useful) / reserved, 0.0), 1.0) if reserved else None
    return Figures(reserved, useful, reserved - useful, ratio, wasted)


def _times(*factors: int | None) -> int | None:
    product = 1
    for factor in factors:
        if factor is None:
            return None
        product *= factor
    return product


def _group_figures(group: Group, num_blocks: int | None) -> Figures:
    spec, layers = group.cache_spec, group.layers
    return _figures(
        _times(spec.page_size_bytes, layers, num_blocks),
        _times(spec.useful_bytes, layers, num_blocks),
    )


def group_advisories(plan: CachePlan) -> list[GroupAdvisory]:
    """Each group, were all blocks its own."""
    return [
        GroupAdvisory(
            **asdict(_described(plan, place)),
            estimated_bytes=figures.reserved,
            overestimation_ratio=figures.ratio,
            wasted_fraction=figures.wasted,
            missing_fields=_missing(group, plan.num_blocks),
        )
        for place, group in enumerate(plan.groups)
        for figures in [_group_figures(group, plan.num_blocks)]
    ]


def group_proposals(plan: CachePlan) -> list[GroupProposal]:
    """Each group with all blocks its own, and without its padding."""
    return [
        GroupProposal(
            **asdict(_described(plan, place)),
            vanilla_estimated_bytes=figures.reserved,
            cachepawl_proposed_bytes=figures.useful,
            proposed_savings_bytes=figures.savings,
        )
        for place, group in enumerate(plan.groups)
        for figures in [_group_figures(group, plan.num_blocks)]
    ]


def _described(plan: CachePlan, place: int) -> Described:
    group = plan.groups[place]
    spec = group.cache_spec
    return Described(
        group_index=index_of(plan, place),
        cache_kind=spec.cache_kind,
        layer_count=group.layers,
        block_size=spec.block_size,
        page_size_bytes=spec.page_size_bytes,
        useful_bytes=spec.useful_bytes,
    )


def index_of(plan: CachePlan, place: int) -> int:
    """A group's index as the file has it, else its place."""
    index = plan.groups[place].group_index
    return place if index is None else index


def _missing(group: Group, num_blocks: int | None) -> list[str]:
    needed = {
        "page_size_bytes": group.cache_spec.page_size_bytes,
        "useful_bytes": group.cache_spec.useful_bytes,
        "num_blocks": num_blocks,
    }
    return [name for name, value in needed.items() if value is None]


def coverage(plan: CachePlan, notes: Notes | None) -> Coverage:
    """Which inputs are there; of a field of groups, whether every group has it."""
    specs = [group.cache_spec for group in plan.groups]

    def each(field: str) -> bool:
        return bool(specs) and all(getattr(spec, field) is not None for spec in specs)

    return Coverage(
        available_kv_cache_gpu_memory=notes is not None and notes.available_bytes is not None,
        cache_group_count=bool(plan.groups),
        cache_tensor_count=bool(plan.tensors),
        layer_count=plan.layer_count is not None,
        num_blocks=plan.num_blocks is not None,
        per_group_block_size=each("block_size"),
        per_group_cache_kind=each("cache_kind"),
        per_group_page_size_bytes=each("page_size_bytes"),
        per_group_useful_bytes=each("useful_bytes"),
    )
