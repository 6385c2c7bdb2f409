"""Mixes as words, and the blocks of a sequence."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm_plans import plan

from cachepawl.errors import InputError
from cachepawl.offline.vllm.classic import classic_figures
from cachepawl.offline.vllm.exact import exact_section
from cachepawl.offline.vllm.layout import Layout, Unknown, layout_of
from cachepawl.offline.vllm.mixes import full_length, mix_of_words, parse_mix, sequence_mix
from cachepawl.offline.vllm.schema import CachePlan


def blocks(text: str, value: dict[str, Any] | None = None) -> list[int]:
    found = CachePlan.model_validate(value or plan())
    layout = layout_of(found)
    assert isinstance(layout, Layout)
    return mix_of_words(found, layout, parse_mix(text))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("attention=8,mamba=3", [8, 1, 1, 1]),
        (" mamba = 7 ", [0, 3, 2, 2]),
        ("0=1,03=2", [1, 0, 0, 2]),
        ("attention=1,2=19", [1, 0, 19, 0]),
        ("attention=0,mamba=20", [0, 7, 7, 6]),
    ],
)
def test_blocks_by_kind_and_by_index(text: str, wanted: list[int]) -> None:
    assert blocks(text) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no KIND=BLOCKS"),
        ("attention", "is no KIND=BLOCKS"),
        ("attention=-1", "is no KIND=BLOCKS"),
        ("attention=1.5", "is no KIND=BLOCKS"),
        ("attention=٣", "is no KIND=BLOCKS"),
        ("attention=1,", "is no KIND=BLOCKS"),
        ("window=1", "is no KIND=BLOCKS"),
        ("mamba=1,mamba=2", "mamba is given twice"),
        ("1=1,01=2", "1 is given twice"),
        ("mamba=1,2=1", "group 2 is named twice"),
        ("attention=0", "0 blocks; give 1 to 20"),
        ("attention=20,mamba=1", "21 blocks; give 1 to 20"),
        ("9=1", "0 groups have the index 9; the plan has 0, 1, 2, 3"),
        ("attention=999999999999999", "at most"),
    ],
)
def test_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        blocks(text)
    assert str(caught.value).startswith("--mix")


def test_groups_that_waste_differently_are_given_by_index() -> None:
    value = plan()
    value["groups"][2]["cache_spec"]["useful_bytes"] = 61
    with pytest.raises(InputError, match="give blocks by group index: 1, 2, 3"):
        blocks("mamba=3", value)
    assert blocks("1=1,2=2", value) == [0, 1, 2, 0]
    with pytest.raises(InputError, match="has no attention group"):
        blocks("attention=1", plan(attention=0))


@given(st.text(max_size=20) | st.from_regex(r"[a-z0-9]{0,3}=[0-9]{0,3}(,[0-9]=[0-9])?"))
def test_any_text_is_a_mix_or_our_error(text: str) -> None:
    with contextlib.suppress(InputError):
        assert 0 < sum(blocks(text)) <= 20


def mamba_plan(**metadata: Any) -> CachePlan:
    value = plan()
    for group in value["groups"][1:]:
        group["cache_spec"]["metadata"] = metadata
    return CachePlan.model_validate(value)


@pytest.mark.parametrize(
    ("metadata", "wanted"),
    [
        ({"mamba_cache_mode": "none"}, [7, 1, 1, 1]),
        ({"mamba_cache_mode": "none", "num_speculative_blocks": 2}, [7, 3, 3, 3]),
        ({"mamba_cache_mode": "align", "num_speculative_blocks": 1}, [7, 3, 3, 3]),
        ({"mamba_cache_mode": "all"}, [7, 1, 1, 1]),
    ],
)
def test_blocks_of_a_sequence(metadata: dict[str, Any], wanted: list[int]) -> None:
    assert sequence_mix(mamba_plan(**metadata), 50) == wanted


def test_a_sequence_whose_blocks_are_not_known() -> None:
    found = sequence_mix(mamba_plan(), 50)
    assert isinstance(found, Unknown)
    assert "group 1 does not say" in found.reason
    value = plan()
    value["groups"][0]["cache_spec"]["spec_type"] = "SlidingWindowSpec"
    assert isinstance(sequence_mix(CachePlan.model_validate(value), 50), Unknown)
    value["groups"][0]["cache_spec"] |= {"spec_type": None, "block_size": None}
    assert isinstance(sequence_mix(CachePlan.model_validate(value), 50), Unknown)


def test_the_longest_sequence() -> None:
    assert full_length(CachePlan.model_validate(plan(length=72))) == 72
    assert isinstance(full_length(mamba_plan(mamba_cache_mode="align")), Unknown)
    two = plan()
    two["groups"][1]["cache_spec"]["block_size"] = 9
    assert isinstance(full_length(CachePlan.model_validate(two)), Unknown)


def test_tokens_of_the_sequence_may_be_given() -> None:
    found = CachePlan.model_validate(plan())
    section = exact_section(found, classic_figures(found), None, 9)
    assert section.full_sequence.mix.blocks == [2, 1, 1, 1]
    assert section.full_sequence.unfilled_bytes == 7 * 200 // 8
    with pytest.raises(InputError, match="the plan's longest sequence has 64"):
        exact_section(found, classic_figures(found), None, 65)
    aligned = mamba_plan(mamba_cache_mode="align")
    assert exact_section(aligned, classic_figures(aligned), None, None).full_sequence is None
    section = exact_section(aligned, classic_figures(aligned), None, 65)
    assert section.full_sequence.mix.blocks == [9, 2, 2, 2]
    with pytest.raises(InputError, match="--sequence-tokens 9: group 1 does not say"):
        exact_section(mamba_plan(), classic_figures(mamba_plan()), None, 9)
