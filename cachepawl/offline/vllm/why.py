"""The sentence that says why the classic figure is not what a pool wastes."""

from __future__ import annotations

from cachepawl.offline.vllm.classic import Figures
from cachepawl.offline.vllm.layout import Layout
from cachepawl.offline.vllm.records import MixWaste
from cachepawl.offline.vllm.schema import CachePlan


def why_it_differs(
    plan: CachePlan, layout: Layout, classic: Figures, best: MixWaste, worst: MixWaste
) -> str:
    """One sentence or two, with the plan's own numbers."""
    within = (
        f"a block belongs to one group, so the blocks in use waste between "
        f"{percent(best.wasted_fraction)} and {percent(worst.wasted_fraction)}, by their mix"
    )
    if classic.wasted is None or plan.total_useful_bytes is None:
        return f"There is no classic figure to compare with; {within}."
    if all(useful == plan.total_useful_bytes for useful in layout.useful):
        return f"The classic figure agrees: {within}."
    groups, layers = len(plan.groups), len(plan.tensors)
    one_each = sum(group.cache_spec.useful_bytes or 0 for group in plan.groups)
    added = (
        f"adds one layer of each of the {_counted(groups, 'group')}"
        if one_each == plan.total_useful_bytes
        else "takes total_useful_bytes, which is not one layer of each group"
    )
    reach = (
        "which no mix reaches"
        if not best.wasted_fraction <= classic.wasted <= worst.wasted_fraction
        else "which only some mixes waste"
    )
    return (
        f"The classic figure {added} as useful ({plan.total_useful_bytes:,} bytes a block) while "
        f"reserved adds the {_counted(layers, 'layer')} that one group may have in a block "
        f"({layout.block_bytes:,} bytes); their quotient says {percent(classic.wasted)} waste, "
        f"{reach}: {within}."
    )


def percent(fraction: float) -> str:
    """`30.13 %`, or `0 %`."""
    return f"{100 * fraction:.2f} %" if fraction else "0 %"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
