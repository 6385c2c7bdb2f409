"""Cache plans made up for tests, and where real ones lie if there are any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

PAGE = 100


def group(
    place: int,
    kind: str,
    layers: list[str],
    *,
    block: int,
    useful: int,
    page: int = PAGE,
    **more: Any,
) -> dict[str, Any]:
    """One group; `more` goes into its spec's metadata."""
    spec = {
        "cache_kind": kind,
        "spec_type": {"attention": "FullAttentionSpec", "mamba": "MambaSpec"}[kind],
        "block_size": block,
        "page_size_bytes": page,
        "useful_bytes": useful,
        "dtype": None,
        "layer_name": None,
        "metadata": more,
    }
    return {
        "cache_spec": spec,
        "group_index": place,
        "group_name": None,
        "is_eagle_group": False,
        "layer_count": len(layers),
        "layer_names": layers,
        "metadata": {},
    }


def plan(
    attention: int = 1,
    mamba: int = 3,
    *,
    layers: int = 2,
    blocks: int = 20,
    page: int = PAGE,
    mamba_useful: int = 60,
    attention_block: int = 8,
    length: int = 64,
) -> dict[str, Any]:
    """A plan whose tensors are shared by one layer of each group, as vLLM lays them out."""
    groups = [
        group(
            place, "attention", [f"attn.{place}.{i}" for i in range(layers)],
            block=attention_block, useful=page, page=page, head_size=4,
        )
        for place in range(attention)
    ]  # fmt: skip
    groups += [
        group(
            place, "mamba", [f"mixer.{place}.{i}" for i in range(layers)],
            block=length, useful=mamba_useful, page=page,
            mamba_cache_mode="none", num_speculative_blocks=0,
        )
        for place in range(attention, attention + mamba)
    ]  # fmt: skip
    return with_totals(groups, blocks, page)


def with_totals(groups: list[dict[str, Any]], blocks: int, page: int = PAGE) -> dict[str, Any]:
    """A plan of these groups: tensors for the largest of them, and the counts."""
    kinds = [g["cache_spec"]["cache_kind"] for g in groups]
    depth = max(g["layer_count"] for g in groups)
    shared = [[g["layer_names"][i] for g in groups if i < g["layer_count"]] for i in range(depth)]
    return {
        "attention_group_count": kinds.count("attention"),
        "block_size": None,
        "dtype": None,
        "group_count": len(groups),
        "groups": groups,
        "layer_count": sum(g["layer_count"] for g in groups),
        "mamba_group_count": kinds.count("mamba"),
        "metadata": {},
        "num_blocks": blocks,
        "tensors": [
            {"metadata": {}, "shared_by": names, "size_bytes": blocks * page} for names in shared
        ],
        "total_page_size_bytes": page * len(groups),
        "total_useful_bytes": sum(g["cache_spec"]["useful_bytes"] for g in groups),
    }


def zamba2(blocks: int = 329, length: int = 4096) -> dict[str, Any]:
    """The sizes of Zamba2-2.7B: 9 attention layers, 54 of Mamba-2, pages of 48 tokens."""
    page = 2 * 32 * 160 * 48 * 2
    state = (3 * 5248 + 80 * 64 * 64) * 2
    return plan(
        1, 6, layers=9, blocks=blocks, page=page, mamba_useful=state,
        attention_block=48, length=length,
    )  # fmt: skip


def runtime_notes(blocks: int = 20) -> dict[str, Any]:
    return {
        "available_gpu_memory_for_kv_cache": 5000,
        "num_blocks": blocks,
        "cache_config_num_gpu_blocks": blocks,
        "kv_cache_group_count": 4,
        "kv_cache_tensor_count": 2,
        "scheduler_type": "AsyncScheduler",
    }


def planner_notes(blocks: int = 20) -> dict[str, Any]:
    return {
        "available_memory": [5000, 4500],
        "planner_output_num_blocks": [blocks, blocks],
        "planner_matches_runtime_scheduler": True,
        "runtime_num_blocks": blocks,
        "runtime_changed_during_replay": False,
        "input_paths": {"vllm_config": "LLM.vllm_config"},
    }


def written(path: Path, value: Any) -> Path:
    """The value as a JSON file."""
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def real_artifacts() -> Path:
    """The folder of real plans beside the checkout; skips where there is none."""
    for parent in Path(__file__).resolve().parents:
        folder = parent / "shared" / "vllm-artifacts"
        if folder.is_dir():
            return folder
    pytest.skip("no folder shared/vllm-artifacts beside this checkout")
    raise AssertionError
