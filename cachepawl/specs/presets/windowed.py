"""Models whose attention sees a window: Samba, Hymba, RecurrentGemma."""

from __future__ import annotations

from cachepawl.specs.presets.preset import Checked, Preset

_GEMMA = {
    "model_type": "recurrent_gemma",
    "num_key_value_heads": 1,
    "head_dim": 256,
    "attention_window_size": 2048,
    "conv1d_width": 4,
    "block_types": ("recurrent", "recurrent", "attention"),
}
_PAIRS = tuple((i, i + 1) for i in (1, 3, 5, 7, 9, 11, 13))
_LATER_PAIRS = tuple((i, i + 1) for i in (19, 21, 23, 25, 27, 29))

PRESETS = (
    Preset(
        name="microsoft/Samba-1.3B",
        config={
            "model_type": "samba",
            "hidden_size": 2304,
            "num_hidden_layers": 18,
            "hidden_ratio": 4,
            "state_size": 16,
            "conv_kernel": 4,
            "expand": 2,
            "time_step_rank": 144,
            "attn": {
                "layers": (1, 3, 5, 7, 9, 11, 13, 15, 17),
                "num_heads": 18,
                "num_kv_heads": 18,
                "window_size": 2048,
            },
        },
        source="SambaConfig of flash-linear-attention, as its README prints it",
        checked=Checked.QUOTED,
        unverified=("num_hidden_layers", "attn.layers"),
    ),
    Preset(
        name="nvidia/Hymba-1.5B-Instruct",
        config={
            "model_type": "hymba",
            "hidden_size": 1600,
            "intermediate_size": 5504,
            "num_hidden_layers": 32,
            "num_attention_heads": 25,
            "num_key_value_heads": 5,
            "kq_head_dim": -1,
            "v_head_dim": 128,
            "sliding_window": 1024,
            "global_attn_idx": (0, 15, 31),
            "kv_reuse_group": (*_PAIRS, (16, 17, 18), *_LATER_PAIRS),
            "mamba_d_state": 16,
            "mamba_d_conv": 4,
            "mamba_expand": 2,
            "mamba_dt_rank": 100,
        },
        source="copies of its config.json on the Hub (commit beddbb2, first half) and in a public "
        "port of its configuration_hymba.py",
        checked=Checked.QUOTED,
        unverified=("v_head_dim",),
    ),
    Preset(
        name="google/recurrentgemma-2b",
        config={
            **_GEMMA,
            "hidden_size": 2560,
            "intermediate_size": 15360,
            "num_hidden_layers": 26,
            "num_attention_heads": 10,
            "lru_width": 2560,
        },
        source="copy of its config.json (ataeff/recurrentgemma-2b-it); the same in "
        "google-deepmind/recurrentgemma, common.py, RECURRENT_GEMMA_2B_V1",
        checked=Checked.QUOTED,
    ),
    Preset(
        name="google/recurrentgemma-9b",
        config={
            **_GEMMA,
            "hidden_size": 4096,
            "intermediate_size": 24576,
            "num_hidden_layers": 38,
            "num_attention_heads": 16,
            "lru_width": 4096,
        },
        source="copy of its config.json (alpindale/recurrentgemma-9b); the same in "
        "google-deepmind/recurrentgemma, common.py, RECURRENT_GEMMA_9B_V1",
        checked=Checked.QUOTED,
    ),
)
