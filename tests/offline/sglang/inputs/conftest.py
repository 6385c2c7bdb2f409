"""Small inputs as a server writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

LABELS = 'model_name="m",engine_type="unified"'
METRICS = f"""\
# HELP sglang:token_usage The token usage.
# TYPE sglang:token_usage gauge
sglang:token_usage{{{LABELS},tp_rank="1"}} 0.75
sglang:token_usage{{{LABELS},tp_rank="0"}} 0.25
sglang:max_total_num_tokens{{{LABELS},tp_rank="0"}} 4096.0
sglang:mamba_used_tokens{{{LABELS},tp_rank="0"}} 4.0
sglang:mamba_available_tokens{{{LABELS},tp_rank="0"}} 50.0
sglang:mamba_evictable_tokens{{{LABELS},tp_rank="0"}} 10.0
sglang:prompt_tokens_histogram_sum{{{LABELS}}} 300.0
sglang:prompt_tokens_histogram_count{{{LABELS}}} 2.0
sglang:generation_tokens_histogram_sum{{{LABELS}}} 0.0
sglang:generation_tokens_histogram_count{{{LABELS}}} 0.0
other_total{{a="x\\"y}}"}} NaN 1700000000
"""
ARGS = {"page_size": 16, "context_length": None, "chunked_prefill_size": 512,
        "mamba_full_memory_ratio": 0.9, "mamba_radix_cache_strategy": "extra_buffer",
        "unknown": ("a", None)}  # fmt: skip
LOG = f"""\
[2026-01-02 03:04:05] server_args={ARGS}
[2026-01-02 03:04:05] Load weight begin. avail mem=79.00 GB
[2026-01-02 03:04:06] Load weight end. type=X, avail mem=40.50 GB, mem usage=38.50 GB.
[2026-01-02 03:04:07] Mamba Cache is allocated. max_mamba_cache_size: 64, conv_state size: 1.00GB
[2026-01-02 03:04:07] max_total_num_tokens=4096, chunked_prefill_size=256, \
max_prefill_tokens=16384, max_running_requests=4, context_len=2048, available_gpu_mem=20.96 GB
[2026-01-02 03:04:08] Allocating kv hierarchical KV host pool: 6160 tokens, 0.00 GB host memory.
[2026-01-02 03:04:08] Allocating 0.01 GB host memory for hierarchical Mamba cache \
(97 state slots, layout=page_first).
[2026-01-02 03:04:09] Decode batch, #running-req: 1, #full token: 592, full token usage: 0.14, \
mamba num: 4, mamba usage: 0.06, #queue-req: 0
"""
INFO = {
    **{k: v for k, v in ARGS.items() if k != "unknown"},
    "launch_command": "--model-path m --page-size 16 --disable-overlap-schedule",
    "max_total_num_tokens": 4096,
    "version": "0.5.23",
    "disable_overlap_schedule": False,
    "internal_states": [{"max_mamba_cache_size": 64, "effective_max_running_requests_per_dp": 4}],
}
LAUNCH = """\
#!/bin/bash
# our server
SGLANG_MAMBA_SSM_DTYPE=bfloat16 python -m sglang.launch_server \\
  --model-path m --page-size 16 \\
  --chunked-prefill-size=512
"""
MODEL = {
    "model_type": "nemotron_h", "architectures": ["NemotronHForCausalLM"], "hidden_size": 64,
    "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "hybrid_override_pattern": "M-*-", "num_hidden_layers": 4, "ssm_state_size": 16,
    "mamba_num_heads": 4, "mamba_head_dim": 16, "n_groups": 2, "conv_kernel": 4, "expand": 1,
    "mamba_chunk_size": 128, "max_position_embeddings": 8192, "vocab_size": 264,
    "mlp_hidden_act": "relu2",
}  # fmt: skip


class Files(NamedTuple):
    """One file for each option."""

    metrics: Path
    log: Path
    server_info: Path
    launch: Path
    model: Path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    texts = {"metrics.txt": METRICS, "server.log": LOG, "info.json": json.dumps(INFO),
             "launch.sh": LAUNCH, "config.json": json.dumps(MODEL)}  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return Files(*(tmp_path / name for name in texts))
