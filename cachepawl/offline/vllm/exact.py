"""Waste by the blocks in use.

With T tensors of pages of P bytes, a block takes B = T * P bytes.  Group g fills L_g * u_g of
them: its layers (L_g <= T) times the useful bytes of a page.  For n_g blocks of each group

    reserved = B * sum(n_g)     useful = sum(n_g * L_g * u_g)     waste = 1 - useful / reserved

so waste is the mean of 1 - L_g * u_g / B over the blocks in use.  No mix is worse than its worst
group or better than its best one.  Blocks that are free are not waste: any group may have them.
The layout this stands on is checked in `layout`.
"""

from __future__ import annotations

from collections.abc import Sequence

from cachepawl.errors import InputError
from cachepawl.offline.vllm.classic import Figures
from cachepawl.offline.vllm.layout import Layout, Unknown, layout_of
from cachepawl.offline.vllm.mixes import MixWords, full_length, mix_of_words, sequence_mix
from cachepawl.offline.vllm.records import Exact, MixWaste, SequenceWaste
from cachepawl.offline.vllm.schema import CachePlan
from cachepawl.offline.vllm.why import why_it_differs


def exact_section(
    plan: CachePlan, classic: Figures, words: MixWords | None, tokens: int | None
) -> Exact:
    """Worst, best and usual mixes, and the one in `words`.

    `tokens`: of the sequence, by default the longest.  InputError for a mix that the plan cannot
    hold, and for one given where the layout is not known.
    """
    layout = layout_of(plan)
    if isinstance(layout, Unknown):
        if words is not None or tokens is not None:
            flag = "--sequence-tokens" if words is None else "--mix"
            raise InputError(f"{flag}: no waste can be computed: {layout.reason}; leave it out")
        return _none(layout.reason)
    by_use = sorted(range(len(layout.useful)), key=lambda place: layout.useful[place])
    worst, best = (_alone(layout, place) for place in (by_use[0], by_use[-1]))
    sequence = _sequence(plan, layout, tokens)
    lacking = sequence.reason if isinstance(sequence, Unknown) else None
    if lacking and tokens is not None:
        raise InputError(f"--sequence-tokens {tokens}: {lacking}; leave it out")
    return Exact(
        unavailable=None,
        block_bytes=layout.block_bytes,
        useful_bytes_per_block=layout.useful,
        worst=worst,
        best=best,
        one_block_per_group=waste_of(layout, [1] * len(layout.useful)),
        full_sequence=None if isinstance(sequence, Unknown) else sequence,
        full_sequence_unavailable=lacking,
        given=None if words is None else waste_of(layout, mix_of_words(plan, layout, words)),
        why_it_differs=why_it_differs(plan, layout, classic, best, worst),
    )


def waste_of(layout: Layout, blocks: Sequence[int]) -> MixWaste:
    """What these blocks waste; at least one, of each group in the plan's order."""
    count = sum(blocks)
    assert count > 0, blocks
    reserved = layout.block_bytes * count
    useful = sum(n * bytes_ for n, bytes_ in zip(blocks, layout.useful, strict=True))
    return MixWaste(
        blocks=list(blocks),
        block_count=count,
        fits=count <= layout.num_blocks,
        reserved_bytes=reserved,
        useful_bytes=useful,
        wasted_bytes=reserved - useful,
        wasted_fraction=(reserved - useful) / reserved,
        overestimation_ratio=reserved / useful if useful else None,
    )


def _alone(layout: Layout, place: int) -> MixWaste:
    """The whole pool in one group's hands."""
    blocks = [0] * len(layout.useful)
    blocks[place] = layout.num_blocks
    return waste_of(layout, blocks)


def _sequence(plan: CachePlan, layout: Layout, tokens: int | None) -> SequenceWaste | Unknown:
    length = full_length(plan)
    if tokens is None:
        if isinstance(length, Unknown):
            return length
        tokens = length
    elif isinstance(length, int) and tokens > length:
        raise InputError(f"--sequence-tokens {tokens}: the plan's longest sequence has {length}")
    blocks = sequence_mix(plan, tokens)
    if isinstance(blocks, Unknown):
        return blocks
    unfilled = sum(
        (count * (group.cache_spec.block_size or 0) - tokens)
        * useful
        // (group.cache_spec.block_size or 1)
        for group, count, useful in zip(plan.groups, blocks, layout.useful, strict=True)
        if group.cache_spec.cache_kind == "attention"
    )
    return SequenceWaste(tokens=tokens, mix=waste_of(layout, blocks), unfilled_bytes=unfilled)


def _none(reason: str) -> Exact:
    return Exact(
        unavailable=reason,
        block_bytes=None,
        useful_bytes_per_block=None,
        worst=None,
        best=None,
        one_block_per_group=None,
        full_sequence=None,
        full_sequence_unavailable=reason,
        given=None,
        why_it_differs=f"There are no exact figures to compare with: {reason}.",
    )
