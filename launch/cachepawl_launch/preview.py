"""What the budget will hold, before the model is loaded.

Exact with --cachepawl-device-gb; else an estimate: the device's memory times
--mem-fraction-static, less the weights as the checkpoint's headers give them.
SGLang measures again after the load, and the scheduler's start line confirms.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from sglang.srt.configs.hybrid_arch import mambaish_config
from sglang.srt.configs.model_config import AttentionArch, ModelConfig
from sglang.srt.platforms import current_platform
from sglang.srt.runtime_context import publish, reset_context
from sglang.srt.utils import get_device_memory_capacity

from cachepawl.config import Options
from cachepawl.errors import ConfigError
from cachepawl.pool.capacity import Capacity
from cachepawl.pool.frames import UNLIMITED
from cachepawl.pool.geometry import Geometry, require_room_for_one
from cachepawl.pool.sizing import caps, useful_bytes
from cachepawl.specs.headers import weight_bytes
from cachepawl_launch.shapes import geometry_of, states_per_request

_KV_DTYPES = {
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
    "fp16": torch.float16,
    "float16": torch.float16,
    "fp8_e4m3": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}


def preview(server_args: Any, view: Any, options: Options) -> Capacity | None:
    """Capacity of the server to be, or None when the budget cannot be estimated.

    `server_args` are SGLang's, resolved; `view` reads the resolved values.  ConfigError
    for a model that is not served, or when not even one request fits an exact budget.
    """
    publish(server_args, role="tokenizer")
    try:
        model = ModelConfig.from_server_args(server_args)
        refuse_model(model)
        dtype = _KV_DTYPES.get(view.kv_cache_dtype, model.dtype)
        hybrid = mambaish_config(model)
        shapes = geometry_of(model, hybrid, dtype, view.page_size, range(model.num_hidden_layers))
        shapes = shapes.with_checkpoints(options.checkpoint_dtype)
        states = states_per_request() if shapes.state else 0
        return _capacity(shapes, states, view, options)
    finally:
        reset_context()


def refuse_model(model: Any) -> None:
    """ConfigError for a kind of attention that the arena does not hold yet."""
    name = "/".join(model.hf_config.architectures or ["?"])
    if model.attention_arch != AttentionArch.MHA:
        raise ConfigError(
            f"model {name} is not supported: latent attention (MLA) is not served yet"
        )
    if getattr(model, "is_hybrid_swa", False):
        raise ConfigError(
            f"model {name} is not supported: sliding-window layers are not served yet"
        )
    if getattr(model, "is_encoder_decoder", False):
        raise ConfigError(
            f"model {name} is not supported: encoder-decoder models are not served yet"
        )


def _capacity(shapes: Geometry, states: int, view: Any, options: Options) -> Capacity | None:
    budget = options.device_bytes
    page_cap, state_cap = caps(shapes, states, view.max_total_tokens, view.max_mamba_cache_size)
    if budget is None:
        measured = _estimate(view)
        if measured is None:
            return None
        budget = min(measured, useful_bytes(shapes, page_cap, state_cap))
        exact = budget < measured and budget < UNLIMITED
    else:
        exact = True
    if exact:
        require_room_for_one(shapes, budget, states)
    return Capacity(shapes.with_budget(max(budget, 0)), budget, states, exact)


def _estimate(view: Any) -> int | None:
    weights = weight_bytes(Path(view.model_path))
    if weights is None or view.mem_fraction_static is None:
        return None
    if view.device == "cpu":
        memory = current_platform.get_available_memory()[0]
    else:
        memory = int(get_device_memory_capacity(view.device) or 0) << 20
    ranks = view.tp_size * view.pp_size
    return int(memory * view.mem_fraction_static) - weights // ranks if memory else None


def show(capacity: Capacity | None, console: Console) -> None:
    """Print the table, or why there is none."""
    if capacity is None:
        console.print(
            "cachepawl: the budget is known once the model is loaded (no local safetensors "
            "headers to estimate from); --cachepawl-device-gb sets it exactly"
        )
        return
    table = Table(title="cachepawl: what the budget holds", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="left")
    for what, much in capacity.rows():
        table.add_row(what, much)
    console.print(table)
