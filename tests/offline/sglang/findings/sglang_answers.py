"""Runs in a process of its own: SGLang's own code answers jobs, read from a file of JSON.

{"words": [...], "family": "nemotron_h", "ask": "start"}           does it start, and with what
{..., "ask": "rules"}                                              slots a request, grids
{..., "ask": "limit", "tokens": n}                                 requests at once
{..., "ask": "snapshots", "prompt": n, "branch": n}                depths of states in prefill
{"ask": "host", "tokens": n, "ratio": r, "size": gb, "entry": b, "page": p}    host tokens
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cachepawl import collector
from cachepawl_launch.cpu.flags import platform_args, serve_env

collector.rest()  # for good; this process ends soon
os.environ.update(serve_env())
logging.disable(logging.CRITICAL)

from sglang.srt.arg_groups.overrides import resolved_view  # noqa: E402
from sglang.srt.configs.model_config import ModelConfig  # noqa: E402
from sglang.srt.managers.schedule_batch import ScheduleBatch  # noqa: E402
from sglang.srt.mem_cache.kv_cache_configurator import KVCacheConfigurator  # noqa: E402
from sglang.srt.mem_cache.pool_host.base import HostKVCache  # noqa: E402
from sglang.srt.plugins import load_plugins  # noqa: E402
from sglang.srt.runtime_context import (  # noqa: E402
    mamba_checkpoint_grid,
    mamba_track_grid,
    publish,
    reset_context,
)
from sglang.srt.server_args import prepare_server_args  # noqa: E402

from cachepawl_launch.cpu.tiny import make_tiny  # noqa: E402

MODELS = Path(__file__).parents[4] / "build" / "models"


def main() -> None:
    jobs = json.loads(Path(sys.argv[1]).read_text())
    load_plugins()
    answers = [answer(job) for job in jobs]
    Path(sys.argv[2]).write_text(json.dumps(answers))


def answer(job: dict[str, Any]) -> Any:
    if job["ask"] == "host":
        return host_tokens(job)
    try:
        args = arguments(job)
    except (AssertionError, ValueError, NotImplementedError) as error:
        return {"refused": f"{type(error).__name__}: {error}"}
    if job["ask"] == "start":
        view = resolved_view(args)
        return {"runs": {name: getattr(view, name) for name in job["fields"]}}
    publish(args, role="tokenizer")
    try:
        return {"rules": rules, "limit": limit, "snapshots": snapshots}[job["ask"]](args, job)
    except AssertionError as error:
        return {"refused": f"AssertionError: {error}"}
    finally:
        reset_context()


def arguments(job: dict[str, Any]) -> Any:
    words = [
        "--model-path",
        str(make_tiny(job["family"], MODELS)),
        *platform_args(set(job["words"])),
    ]
    args = prepare_server_args([*words, *job["words"]])
    args.resolve_once()
    return args


def rules(args: Any, job: dict[str, Any]) -> dict[str, int]:
    page = resolved_view(args).page_size * resolved_view(args).dcp_size
    return {
        "slots_reserved": KVCacheConfigurator._calculate_mamba_ratio(None),
        "grid": mamba_checkpoint_grid(page),
        "track_grid": mamba_track_grid(page),
    }


def limit(args: Any, job: dict[str, Any]) -> int:
    configurator = SimpleNamespace(
        model_config=ModelConfig.from_server_args(args),
        attn_dp_size=1,
        mambaish_config=object(),
        _calculate_mamba_ratio=lambda: KVCacheConfigurator._calculate_mamba_ratio(None),
    )
    try:
        return KVCacheConfigurator.resolve_max_num_reqs(configurator, job["tokens"])
    except RuntimeError:
        return 0


def snapshots(args: Any, job: dict[str, Any]) -> list[int]:
    """Depths that are snapshot while a prompt is prefilled in chunks on an idle server."""
    view, depths = resolved_view(args), []
    page, prompt = view.page_size, job["prompt"]
    batch = SimpleNamespace(
        model_config=ModelConfig.from_server_args(args),
        tree_cache=SimpleNamespace(page_size=page),
        req_to_token_pool=SimpleNamespace(get_mamba_ping_pong_other_idx=lambda i: 1 - i),
    )
    start = 0
    while start < prompt:
        left = prompt - start
        size = (
            left if left <= view.chunked_prefill_size else view.chunked_prefill_size // page * page
        )
        kv = SimpleNamespace(mamba_next_track_idx=0, mamba_last_track_idx=None)
        req = SimpleNamespace(
            prefix_len=start,
            extend_len=size,
            extend_end=start + size,
            kv=kv,
            mamba_branching_seqlen=job.get("branch"),
        )
        entry = ScheduleBatch._mamba_radix_cache_v2_req_prepare_for_extend(batch, req)
        if entry.track_mask:
            depths.append(kv.mamba_last_track_seqlen)
        start += size
    return depths


def host_tokens(job: dict[str, Any]) -> int:
    """Tokens of a host KV pool."""
    pool = SimpleNamespace(clear=lambda: None)
    HostKVCache.__init__(
        pool,
        dtype=None,
        device_capacity_tokens=job["tokens"],
        size_per_token=job["entry"],
        start_layer=0,
        end_layer=1,
        host_to_device_ratio=job["ratio"],
        host_size=job["size"],
        page_size=job["page"],
        layout="page_first",
        pin_memory=False,
        device="cpu",
        is_dummy=True,
    )
    return pool.size


if __name__ == "__main__":
    main()
