"""SGLang's own sizing code, run for given models, flags and bytes.

A program: JSON in, from the file that it is given, and JSON out.

It runs in a process of its own, for SGLang keeps one server's settings per process and is
bound to a platform at import.  No weights are loaded and no server is started; every number
comes out of SGLang's functions.
"""

# ruff: noqa: E402
from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cachepawl import collector

collector.rest()  # for good; this process ends soon

from sglang.srt.configs.model_config import ModelConfig
from sglang.srt.mem_cache.hybrid_cache.hybrid_pool_assembler import (
    _split_hicache_size,
    build_kv_host_pool,
    build_mamba_host_pool,
)
from sglang.srt.mem_cache.kv_cache_configurator import KVCacheConfigurator
from sglang.srt.mem_cache.kv_cache_dtype import configure_kv_cache_dtype
from sglang.srt.model_executor.pool_configurator import create_memory_pool_configurator
from sglang.srt.plugins import load_plugins
from sglang.srt.runtime_context import (
    get_context,
    get_exec,
    get_memory,
    get_model,
    get_parallel,
    get_schedule,
    get_spec,
    publish,
    reset_context,
)
from sglang.srt.server_args import prepare_server_args
from sglang.srt.speculative.spec_info import SpeculativeAlgorithm

GIB = 1 << 30


def configurator(server_args: Any) -> KVCacheConfigurator:
    """SGLang's, with what a model runner would have put in."""
    model = ModelConfig.from_server_args(server_args)
    kind, dtype = configure_kv_cache_dtype(
        server_args_kv_cache_dtype=get_model().kv_cache_dtype,
        model=None,
        model_dtype=model.dtype,
        is_draft_worker=False,
        is_dflash=False,
        speculative_draft_attention_backend="",
    )
    kvc: Any = object.__new__(KVCacheConfigurator)
    values = {
        "attn_dp_size": get_parallel().attn_dp_size,
        "pp_size": 1,
        "model_config": model,
        "server_args": server_args,
        "kv_cache_dtype": dtype,
        "kv_cache_dtype_str": kind or get_model().kv_cache_dtype,
        "model_dtype": model.dtype,
        "page_size": get_schedule().page_size,
        "spec_algorithm": SpeculativeAlgorithm.from_string(get_spec().speculative_algorithm),
        "is_draft_worker": False,
        "is_hybrid_swa": model.is_hybrid_swa,
        "use_mla_backend": model.attention_arch.name == "MLA",
        "spec_aux_config": SimpleNamespace(
            eagle_draft_num_layers=1, draft_model_config=None, dflash_draft_num_layers=None
        ),
        "layer_info": SimpleNamespace(
            start_layer=0,
            end_layer=model.num_hidden_layers,
            num_effective_layers=model.num_hidden_layers,
            is_hybrid_swa_mtp_draft=False,
            swa_attention_layer_ids=[],
        ),
        "extra_mamba_cache_bytes_per_req": 0,
        "device": "cpu",
        "gpu_id": 0,
        "post_capture_kv_active": False,
        "sliding_window_size": None,
        "is_hybrid_swa_compress": False,
        "req_to_token_pool": None,
        "token_to_kv_pool_allocator": None,
        "memory_pool_config": None,
        "forward_stream": None,
        "draft_parallel_layout": None,
    }
    for name, value in values.items():
        setattr(kvc, name, value)
    kvc.__post_init__()
    return kvc


def sized(kvc: Any, rest: int) -> dict[str, Any]:
    """What SGLang makes of `rest` bytes, or why it stops."""
    try:
        left = rest / GIB
        if kvc.mambaish_config is not None:
            left = kvc._handle_max_mamba_cache(left)
        if left <= 0:
            return {"stops": "no memory for KV"}
        config = kvc.config_from_budget(int(left * GIB))
        requests = kvc.resolve_max_num_reqs(config.max_total_num_tokens)
    except RuntimeError as error:
        return {"stops": str(error)}
    out = {
        "kv_tokens": config.max_total_num_tokens,
        "requests": requests,
        "cell": create_memory_pool_configurator(kvc)._cell_size,
    }
    if kvc.mambaish_config is not None:
        mamba = get_exec().mamba
        out |= {
            "slots": get_schedule().max_mamba_cache_size,
            "state_bytes": kvc.mambaish_config.mamba2_cache_params.mamba_cache_per_req,
            "divisor": kvc._calculate_mamba_ratio(),
            "extra_buffer": mamba.enable_mamba_extra_buffer,
        }
    return out


def unified(kvc: Any, rest: int) -> dict[str, Any]:
    """The real unified pools of `rest` bytes, built on the CPU, while they are small."""
    left = kvc._handle_max_mamba_cache(rest / GIB)
    config = kvc.config_from_budget(int(left * GIB))
    requests = kvc.resolve_max_num_reqs(config.max_total_num_tokens)
    bundle = kvc._init_unified_mamba_pools(
        max_num_reqs=requests,
        max_total_num_tokens=config.max_total_num_tokens,
        unified_total_bytes=config.unified_total_bytes,
    )
    kv, states = bundle.token_to_kv_pool_allocator, bundle.req_to_token_pool
    state_pool, kv_pool = states.mamba_pool, bundle.token_to_kv_pool.full_kv_pool
    return {
        "requests": requests,
        "total_bytes": bundle.unified_memory_pool.total_bytes,
        "most_tokens": kv.available_size(),
        "most_states": kv.mamba_allocator.available_size(),
        "slots": states._shared_mamba_size,
        "host_tokens": kv_pool.host_capacity_tokens,
        "host_state_slots": state_pool.host_capacity_tokens,
    }


def built(kvc: Any, rest: int) -> dict[str, Any]:
    """The real static pools of `rest` bytes, built on the CPU, and the host pools of them."""
    left = rest / GIB
    if kvc.mambaish_config is not None:
        left = kvc._handle_max_mamba_cache(left)
    config = kvc.config_from_budget(int(left * GIB))
    config.max_running_requests = kvc.resolve_max_num_reqs(config.max_total_num_tokens)
    pools = kvc._init_pools(
        sizes=kvc._derive_pool_sizes(config=config),
        req_to_token_pool=None,
        token_to_kv_pool_allocator=None,
    )
    rows = pools.req_to_token_pool.req_to_token
    out = {
        "kv_tokens": pools.token_to_kv_pool_allocator.size,
        "kv_bytes": int(sum(pools.token_to_kv_pool.get_kv_size_bytes())),
        "request_rows_bytes": rows.numel() * rows.element_size(),
    }
    kv, states = pools.token_to_kv_pool, None
    if kvc.mambaish_config is not None:
        kv, states = kv.full_kv_pool, pools.req_to_token_pool.mamba_pool
        out |= {"slots": states.size, "state_bytes": int(states.mamba_cache.mem_usage_bytes())}
    return out | host_pools(kv, states)


def host_pools(kv: Any, states: Any) -> dict[str, Any]:
    """The sizes that SGLang logs before it pins the memory, which takes a GPU's driver."""
    shares = (get_memory().hicache_size, 0)
    if states is not None:
        shares = _split_hicache_size(get_memory().hicache_size, (kv, states))
    said = Listener()
    with contextlib.suppress(RuntimeError):
        build_kv_host_pool(kv_pool=kv, page_size=get_schedule().page_size, host_size=shares[0])
    if states is not None:
        (info,) = states.get_device_pool_infos()
        with contextlib.suppress(RuntimeError):
            build_mamba_host_pool(
                states, info, host_size=shares[1], layout=get_memory().hicache_mem_layout
            )
    return {
        "host_tokens": said.number(r"KV host pool: (\d+) tokens"),
        "host_slots": said.number(r"\((\d+) state slots"),
    }


class Listener(logging.Handler):
    """Keeps what SGLang logs."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        logger = logging.getLogger("sglang.srt.mem_cache.pool_host")
        logger.setLevel(logging.INFO)
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def number(self, pattern: str) -> int | None:
        """The one number that a pattern finds; None where there is none."""
        found = re.findall(pattern, "\n".join(self.lines))
        return int(found[0]) if found else None


MEASURES = {"static": sized, "unified": unified, "built": built}


def case(given: dict[str, Any]) -> list[dict[str, Any]]:
    """One command line, several amounts of memory."""
    os.environ.update(given["environment"])
    out = []
    for rest in given["rests"]:
        server_args = prepare_server_args(given["words"])
        server_args.resolve_once()
        publish(server_args, role="tokenizer")
        if given["layout"] == "unified":
            # As --enable-unified-memory, which is for GPUs, would have it.
            get_context().override("test", enable_unified_memory=True)
        try:
            out.append(MEASURES[given["layout"]](configurator(server_args), rest))
        finally:
            reset_context()
    return out


if __name__ == "__main__":
    load_plugins()
    print(
        "ANSWERS", json.dumps([case(given) for given in json.loads(Path(sys.argv[1]).read_text())])
    )
