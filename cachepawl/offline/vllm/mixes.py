"""Block mixes: how many of the blocks in use each group has."""

from __future__ import annotations

import re

from cachepawl.errors import InputError
from cachepawl.offline.vllm.classic import index_of
from cachepawl.offline.vllm.layout import Layout, Unknown
from cachepawl.offline.vllm.schema import MOST_COUNT, CachePlan, Group

EXAMPLE = "give for example attention=86,mamba=6, or 0=86,1=6 by group index"
_PART = re.compile(r"\s*(attention|mamba|\d{1,12})\s*=\s*(\d{1,15})\s*", re.ASCII)


MixWords = dict[str, int]
"""Blocks by kind or by group index, as written in `--mix`."""


def parse_mix(text: str) -> MixWords:
    """`KIND=BLOCKS` or `INDEX=BLOCKS`, with commas between.  InputError for anything else."""
    words = MixWords()
    for part in text.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise InputError(f"--mix {text[:80]!r}: {part[:40]!r} is no KIND=BLOCKS; {EXAMPLE}")
        name = found[1] if found[1].isalpha() else str(int(found[1]))
        blocks = int(found[2])
        if name in words:
            raise InputError(f"--mix {text[:80]!r}: {name} is given twice; {EXAMPLE}")
        if blocks > MOST_COUNT:
            raise InputError(f"--mix {text[:80]!r}: {blocks} blocks, at most {MOST_COUNT}")
        words[name] = blocks
    return words


def mix_of_words(plan: CachePlan, layout: Layout, words: MixWords) -> list[int]:
    """Blocks of each group; those of a kind are dealt out to its groups evenly.

    InputError for a kind or group that the plan has not or that is named twice, for a kind whose
    groups waste differently, for no blocks at all, and for more than the pool has.
    """
    blocks = [0] * len(plan.groups)
    named = set[int]()
    for word, count in words.items():
        places = _places(plan, word)
        if named & set(places):
            raise InputError(f"--mix: group {min(named & set(places))} is named twice; {EXAMPLE}")
        named |= set(places)
        if len({layout.useful[place] for place in places}) > 1:
            raise InputError(
                f"--mix: the {word} groups fill their blocks differently; give blocks by group "
                f"index: {', '.join(str(index_of(plan, place)) for place in places)}"
            )
        each, over = divmod(count, len(places))
        for rank, place in enumerate(places):
            blocks[place] = each + (rank < over)
    total = sum(blocks)
    if not 0 < total <= layout.num_blocks:
        raise InputError(f"--mix: {total} blocks; give 1 to {layout.num_blocks}, the pool's size")
    return blocks


def _places(plan: CachePlan, word: str) -> list[int]:
    if word.isdigit():
        found = [p for p in range(len(plan.groups)) if index_of(plan, p) == int(word)]
        if len(found) != 1:
            indices = sorted({index_of(plan, p) for p in range(len(plan.groups))})
            raise InputError(
                f"--mix: {len(found)} groups have the index {word}; "
                f"the plan has {', '.join(map(str, indices[:20]))}"
            )
        return found
    found = [place for place, kind in enumerate(plan.kinds) if kind == word]
    if not found:
        raise InputError(f"--mix: the plan has no {word} group; {EXAMPLE}")
    return found


def full_length(plan: CachePlan) -> int | Unknown:
    """Tokens of the longest sequence.

    Without states at block ends (`mamba_cache_mode` none) vLLM sets a Mamba group's block to the
    model's maximum length, so that a sequence has one; otherwise the plan does not say.
    """
    lengths = {
        group.cache_spec.block_size
        for group in plan.groups
        if group.cache_spec.metadata.mamba_cache_mode == "none"
        and group.cache_spec.cache_kind == "mamba"
    }
    length = lengths.pop() if len(lengths) == 1 else None
    if length is None:
        return Unknown(
            "the longest sequence is not in the plan: no Mamba group with mamba_cache_mode none, "
            "whose block is that long; give --sequence-tokens"
        )
    return length


def sequence_mix(plan: CachePlan, tokens: int) -> list[int] | Unknown:
    """Blocks that a sequence holds in each group, or why that is not known.

    Full attention: every token, whole blocks.  Mamba, mode none or all: as many, plus those for
    speculative decoding; mode align: its state and the one before, plus the same.
    """
    blocks = list[int]()
    for place, group in enumerate(plan.groups):
        needed = _sequence_blocks(group, tokens)
        if needed is None:
            spec = group.cache_spec
            return Unknown(
                f"group {place} does not say how many blocks a sequence holds "
                f"(cache_kind {spec.cache_kind}, block_size {spec.block_size}, "
                f"mamba_cache_mode {spec.metadata.mamba_cache_mode})"
            )
        blocks.append(needed)
    return blocks


def _sequence_blocks(group: Group, tokens: int) -> int | None:
    spec = group.cache_spec
    mode, spare = spec.metadata.mamba_cache_mode, spec.metadata.num_speculative_blocks
    if spec.cache_kind == "mamba" and mode == "align":
        return 2 + spare
    if spec.block_size is None:
        return None
    whole = -(-tokens // spec.block_size)
    if spec.cache_kind == "mamba" and mode is not None:
        return whole + spare
    full = spec.cache_kind == "attention" and spec.spec_type in (None, "FullAttentionSpec")
    return whole if full else None
