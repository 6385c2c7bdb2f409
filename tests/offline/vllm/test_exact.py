"""Waste by block mix: the figures quoted for Zamba2, and any mix beside a pool marked by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm_plans import group, plan, real_artifacts, with_totals, zamba2

from cachepawl.errors import InputError
from cachepawl.offline.vllm.classic import classic_figures
from cachepawl.offline.vllm.exact import exact_section, waste_of
from cachepawl.offline.vllm.layout import Layout, layout_of
from cachepawl.offline.vllm.mixes import parse_mix
from cachepawl.offline.vllm.read import read_plan
from cachepawl.offline.vllm.records import Exact
from cachepawl.offline.vllm.schema import CachePlan


def exact(value: dict[str, Any], mix: str | None = None, tokens: int | None = None) -> Exact:
    found = CachePlan.model_validate(value)
    words = None if mix is None else parse_mix(mix)
    return exact_section(found, classic_figures(found), words, tokens)


def check_zamba2(found: Exact) -> None:
    """What is known of the 4096-token plan."""
    assert found.block_bytes == 9 * 983040
    assert found.best is not None
    assert found.best.wasted_fraction == 0
    assert found.worst is not None
    assert found.worst.wasted_fraction == pytest.approx(0.3013, abs=5e-5)
    assert found.one_block_per_group is not None
    assert found.one_block_per_group.wasted_fraction == pytest.approx(0.2583, abs=5e-5)
    assert found.full_sequence is not None
    assert found.full_sequence.tokens == 4096
    assert found.full_sequence.mix.blocks == [86, 1, 1, 1, 1, 1, 1]
    assert found.full_sequence.mix.wasted_fraction == pytest.approx(0.0197, abs=5e-5)
    assert found.full_sequence.unfilled_bytes == 9 * 32 * 983040 // 48


def test_the_quoted_figures() -> None:
    found = exact(zamba2(), "attention=86,mamba=6")
    check_zamba2(found)
    assert found.given == found.full_sequence.mix


def test_the_quoted_figures_of_the_real_plan() -> None:
    path = "vllm-runtime-cache-plan-observation/translated_runtime_cache_config.json"
    found = read_plan(real_artifacts() / path)
    check_zamba2(exact_section(found, classic_figures(found), None, None))


@pytest.mark.parametrize(
    "cell", ["len2048__gpu0p6__seqs1", "len2048__gpu0p7__seqs1", "len4096__gpu0p6__seqs1"]
)
def test_the_other_real_plans(cell: str) -> None:
    folder = real_artifacts() / "vllm-path-c-matrix" / f"Zyphra_Zamba2-2.7B-instruct__{cell}"
    found = read_plan(folder / "planner-stage-observation/translated_planner_stage_config.json")
    section = exact_section(found, classic_figures(found), None, None)
    assert section.worst.wasted_fraction == pytest.approx(0.3013, abs=5e-5)
    assert f"len{section.full_sequence.tokens}" in cell
    attention, *mamba = section.full_sequence.mix.blocks
    assert attention == -(-section.full_sequence.tokens // 48)
    assert mamba == [1] * 6


def test_the_sentence_says_what_is_added() -> None:
    why = exact(zamba2()).why_it_differs
    assert "adds one layer of each of the 7 groups as useful (5,104,128 bytes a block)" in why
    assert "reserved adds the 9 layers that one group may have in a block (8,847,360 bytes)" in why
    assert "42.31 % waste, which no mix reaches" in why
    assert "between 0 % and 30.13 %" in why


def test_the_sentence_where_the_figures_agree_or_cannot_be_compared() -> None:
    one = with_totals([group(0, "mamba", ["m"], block=8, useful=60)], 5)
    assert exact(one).why_it_differs.startswith("The classic figure agrees: ")
    assert exact(one).worst.wasted_fraction == 0.4
    unknown = exact(one | {"total_useful_bytes": None}).why_it_differs
    assert unknown.startswith("There is no classic figure to compare with; ")
    edited = exact(plan(layers=3) | {"total_useful_bytes": 200}).why_it_differs
    assert "takes total_useful_bytes, which is not one layer of each group" in edited
    assert "which only some mixes waste" in edited


def marked_waste(value: dict[str, Any], mix: list[int]) -> tuple[int, int]:
    """Reserved and wasted bytes of a pool in which each byte of each tensor is marked by hand."""
    tensors = [bytearray(t["size_bytes"]) for t in value["tensors"]]
    home = {name: t for t, tensor in enumerate(value["tensors"]) for name in tensor["shared_by"]}
    block = 0
    for owner, count in zip(value["groups"], mix, strict=True):
        spec = owner["cache_spec"]
        page, useful = spec["page_size_bytes"], spec["useful_bytes"]
        for _ in range(count):
            for name in owner["layer_names"]:
                start = block * page
                tensors[home[name]][start : start + useful] = b"\1" * useful
            block += 1
    used = [tensor[: block * (len(tensor) // value["num_blocks"])] for tensor in tensors]
    return sum(map(len, used)), sum(tensor.count(0) for tensor in used)


@st.composite
def pools(draw: st.DrawFn) -> tuple[dict[str, Any], list[int]]:
    """A plan with groups of unequal depth and use, and a mix that it holds."""
    page = draw(st.integers(1, 12))
    groups = [
        group(
            place, draw(st.sampled_from(["attention", "mamba"])),
            [f"{place}.{i}" for i in range(draw(st.integers(1, 4)))],
            block=4, useful=draw(st.integers(0, page)), page=page,
        )
        for place in range(draw(st.integers(1, 4)))
    ]  # fmt: skip
    mix = [draw(st.integers(0, 3)) for _ in groups]
    mix[draw(st.integers(0, len(mix) - 1))] += 1
    return with_totals(groups, sum(mix) + draw(st.integers(0, 3)), page), mix


@given(pools())
def test_any_mix_wastes_what_is_left_unmarked(pool: tuple[dict[str, Any], list[int]]) -> None:
    value, mix = pool
    layout = layout_of(CachePlan.model_validate(value))
    assert isinstance(layout, Layout)
    found = waste_of(layout, mix)
    assert (found.reserved_bytes, found.wasted_bytes) == marked_waste(value, mix)
    assert found.useful_bytes + found.wasted_bytes == found.reserved_bytes
    by_index = ",".join(f"{place}={count}" for place, count in enumerate(mix))
    section = exact(value, by_index)
    assert section.given == found
    assert section.best.wasted_fraction <= found.wasted_fraction <= section.worst.wasted_fraction
    assert section.best.block_count == section.worst.block_count == value["num_blocks"]


def test_whether_the_pool_has_the_blocks() -> None:
    fits = {n: exact(plan(mamba=3, blocks=n)).one_block_per_group.fits for n in (3, 4, 5)}
    assert fits == {3: False, 4: True, 5: True}


def edited(**spec: Any) -> dict[str, Any]:
    value = plan()
    value["groups"][1]["cache_spec"] |= spec
    return value


def reshared(names: list[list[str] | None]) -> dict[str, Any]:
    value = plan(mamba=1)
    for tensor, shared in zip(value["tensors"], names, strict=True):
        tensor["shared_by"] = shared
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (plan() | {"tensors": []}, "the plan has no tensors"),
        (plan() | {"groups": []}, "the plan has no groups"),
        (plan() | {"num_blocks": None}, "num_blocks is not in the plan"),
        (plan() | {"num_blocks": 21}, "tensor 0 has 2000 bytes, not a page of 100 bytes"),
        (plan(blocks=0), "num_blocks is 0"),
        (plan(page=0, mamba_useful=0), "page_size_bytes is 0"),
        (edited(useful_bytes=None), "useful_bytes of group 1 is not in the plan"),
        (edited(page_size_bytes=101), "page_size_bytes is 100 and 101, not one size"),
        (edited(useful_bytes=101), "group 1 has more useful_bytes than its page"),
        (reshared([None, []]), "shared_by of tensor 0 is not in the plan"),
        (reshared([["attn.0.0"], ["attn.0.1"]]), "not each in one tensor's shared_by"),
        (
            reshared([["attn.0.0", "attn.0.1"], ["mixer.1.0", "mixer.1.1"]]),
            "tensor 0 has 2 layers of group 0",
        ),
        (
            reshared([["attn.0.0", "mixer.1.0"], ["attn.0.1", "mixer.1.1", "mixer.1.0"]]),
            "not each in one tensor's shared_by",
        ),
    ],
)
def test_another_layout_has_no_figures(value: dict[str, Any], words: str) -> None:
    found = exact(value)
    assert words in found.unavailable
    assert words in found.why_it_differs
    assert found.worst is None
    with pytest.raises(InputError, match="--mix: no waste can be computed"):
        exact(value, "0=1")
    with pytest.raises(InputError, match="--sequence-tokens: no waste can be computed"):
        exact(value, tokens=5)


@pytest.mark.parametrize("field", ["layer_count", "layer_names"])
def test_layers_that_are_not_all_named_have_no_figures(field: str) -> None:
    value = plan()
    value["groups"][0][field] = {"layer_count": 5, "layer_names": None}[field]
    assert "layer" in exact(value).unavailable
    twice = plan()
    twice["groups"][0]["layer_names"] = ["mixer.1.0", "attn.0.1"]
    assert exact(twice).unavailable == "a layer is named twice"
