"""How blocks lie in the tensors, and whether the plan has the layout that is computed with.

vLLM gives a hybrid model one pool of block numbers and pads every group's page to one size P.
Tensor t has one page per block, and is shared by at most one layer of each group:

              block 0   block 1   block 2  ...
    tensor 0  [  P   ]  [  P   ]  [  P   ]      layer 0 of whichever group has the block
    tensor 1  [  P   ]  [  P   ]  [  P   ]      layer 1
    ...

A block number belongs to one group at a time.  Its layers use their tensors' pages of that
number; no other group can use the rest.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from cachepawl.offline.vllm.schema import CachePlan


class Layout(NamedTuple):
    """A pool of blocks; bytes of one block over all tensors."""

    num_blocks: int
    block_bytes: int
    useful: list[int]
    """Bytes of a block that group g fills: its layers times their useful bytes."""


class Unknown(NamedTuple):
    """No figures, and why."""

    reason: str


def layout_of(plan: CachePlan) -> Layout | Unknown:
    """The plan's layout; Unknown for a plan that lacks a figure or is laid out otherwise."""
    reason = _lacking(plan) or _otherwise(plan)
    if reason or not plan.num_blocks:
        return Unknown(reason or "num_blocks is 0")
    useful = [(group.cache_spec.useful_bytes or 0) * group.layers for group in plan.groups]
    page = plan.groups[0].cache_spec.page_size_bytes or 0
    return Layout(plan.num_blocks, page * len(plan.tensors), useful)


def _lacking(plan: CachePlan) -> str:
    if not plan.groups or not plan.tensors:
        return f"the plan has no {'tensors' if plan.groups else 'groups'}"
    if plan.num_blocks is None:
        return "num_blocks is not in the plan"
    for place, group in enumerate(plan.groups):
        for field in ("page_size_bytes", "useful_bytes"):
            if getattr(group.cache_spec, field) is None:
                return f"{field} of group {place} is not in the plan"
        if group.layer_names is None:
            return f"layer_names of group {place} are not in the plan"
    for place, tensor in enumerate(plan.tensors):
        if tensor.shared_by is None:
            return f"shared_by of tensor {place} is not in the plan"
    return ""


def _otherwise(plan: CachePlan) -> str:
    pages = {group.cache_spec.page_size_bytes for group in plan.groups}
    if len(pages) > 1 or pages == {0}:
        return f"page_size_bytes is {' and '.join(map(str, sorted(pages, key=str)))}, not one size"
    page = plan.groups[0].cache_spec.page_size_bytes or 0
    for place, tensor in enumerate(plan.tensors):
        if tensor.size_bytes != page * (plan.num_blocks or 0):
            return (
                f"tensor {place} has {tensor.size_bytes} bytes, not a page of {page} bytes "
                f"for each of {plan.num_blocks} blocks"
            )
    for place, group in enumerate(plan.groups):
        if (group.cache_spec.useful_bytes or 0) > page:
            return f"group {place} has more useful_bytes than its page"
        if group.layers != len(group.layer_names or ()) or not group.layers:
            return f"group {place} does not name each of its {group.layers} layers"
    return _shared_otherwise(plan)


def _shared_otherwise(plan: CachePlan) -> str:
    """Each layer lies in one tensor, and no tensor has two layers of one group."""
    owner = {
        name: place for place, group in enumerate(plan.groups) for name in group.layer_names or ()
    }
    if len(owner) < sum(group.layers for group in plan.groups):
        return "a layer is named twice"
    seen = Counter(name for tensor in plan.tensors for name in tensor.shared_by or ())
    if seen.keys() != owner.keys() or any(times > 1 for times in seen.values()):
        return "the groups' layers are not each in one tensor's shared_by"
    for place, tensor in enumerate(plan.tensors):
        groups = Counter(owner[name] for name in tensor.shared_by or ())
        for group, layers in groups.items():
            if layers > 1:
                return f"tensor {place} has {layers} layers of group {group}"
    return ""
