"""The reader of config.json: every refusal is a ConfigError with file, field, value, remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachepawl.errors import ConfigError
from cachepawl.specs import ModelSpec, read_config, spec_of
from cachepawl.specs.hf.read import READERS
from cachepawl.specs.presets import PRESETS

SETTINGS = settings(derandomize=True, deadline=None, max_examples=300, database=None)
QWEN = dict(PRESETS["Qwen/Qwen3.5-9B"].config)

# One published configuration a family, to damage.
WHOLE: dict[str, dict[str, Any]] = {}
for _preset in PRESETS.values():
    WHOLE.setdefault(str(_preset.config.get("model_type", "state-spaces")), dict(_preset.config))

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["auto", "mamba", "full_attention", "M*", "bfloat16", -1, 0, 1, 4096])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


def fields(value: Any) -> set[str]:
    """All field names in a configuration."""
    if not isinstance(value, dict):
        return set()
    return set(value).union(*(fields(inner) for inner in value.values()))


NAMES = sorted(set().union(*(fields(config) for config in WHOLE.values())))


@SETTINGS
@given(
    st.dictionaries(st.sampled_from([*NAMES, "text_config", "head_dim", "dtype"]), JSON),
    st.sampled_from([*READERS, "gpt2", None]),
)
def test_any_object_is_read_or_refused(config: dict[str, Any], model_type: str | None) -> None:
    if model_type is not None:
        config = {**config, "model_type": model_type}
    try:
        spec = spec_of(config)
    except ConfigError:
        return
    assert isinstance(spec, ModelSpec)


@SETTINGS
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_a_damaged_configuration_is_read_or_refused(family: str, data: st.DataObject) -> None:
    config = dict(WHOLE[family])
    name = data.draw(st.sampled_from(sorted(config)))
    target = config
    if isinstance(config[name], dict) and data.draw(st.booleans()):
        target = config[name] = dict(config[name])
        name = data.draw(st.sampled_from(sorted(target)))
    target[name] = data.draw(JSON)
    try:
        spec = spec_of(config)
    except ConfigError as refused:
        said = str(refused)
    else:
        said = "config.json: "
        assert spec.state_bytes() >= 0
        assert spec.prefill_flops(7, 3) > 0
    assert said.startswith("config.json: ")


@SETTINGS
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_bytes(raw)
    with pytest.raises(ConfigError) as refused:
        read_config(file)
    assert str(refused.value).startswith(str(file))


# Fields that a family's own rules supply when they are absent; no other may be.
OPTIONAL: dict[str, set[str]] = {
    "falcon_h1": {"head_dim", "mamba_d_head", "mamba_d_ssm"},
    "granitemoehybrid": {"mamba_d_head", "mamba_expand", "intermediate_size"},
    "hymba": {"kq_head_dim", "v_head_dim", "kv_reuse_group", "mamba_expand", "mamba_dt_rank"},
    "jamba": {"mamba_expand", "mamba_dt_rank"},
    "kimi_linear": {
        "num_key_value_heads", "q_lora_rank", "moe_layer_freq", "moe_intermediate_size",
    },
    "mamba2": {"intermediate_size"},
    "qwen3_5_moe_text": {"full_attention_interval", "mamba_ssm_dtype"},
    "qwen3_5_text": {"full_attention_interval", "mamba_ssm_dtype"},
    "qwen3_next": {"full_attention_interval", "mamba_ssm_dtype", "decoder_sparse_step"},
    "recurrent_gemma": {"num_key_value_heads", "head_dim", "lru_width"},
    "samba": {"hidden_ratio", "expand", "time_step_rank"},
    "lfm2_moe": {"moe_intermediate_size"},
    "zamba2": {"intermediate_size", "num_key_value_heads", "mamba_expand", "adapter_rank"},
}  # fmt: skip
# Without these another way of writing the configuration is tried, and its field is missed.
INSTEAD = {
    "ssm_cfg": "model_type: missing",
    "moe_intermediate_size": "intermediate_size: missing",
}


@pytest.mark.parametrize("family", sorted(WHOLE))
def test_a_missing_field_is_named(family: str) -> None:
    for name in set(WHOLE[family]) - OPTIONAL.get(family, set()):
        config = {key: value for key, value in WHOLE[family].items() if key != name}
        with pytest.raises(ConfigError, match=r"^config\.json: \S+: missing; give ") as refused:
            spec_of(config)
        assert INSTEAD.get(name, name) in str(refused.value)


@pytest.mark.parametrize("family", sorted(OPTIONAL))
def test_an_optional_field_is_supplied(family: str) -> None:
    for name in OPTIONAL[family] - {"mamba_d_ssm"}:
        config = {key: value for key, value in WHOLE[family].items() if key != name}
        assert isinstance(spec_of(config), ModelSpec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": -5}, "hidden_size: -5; give a whole number from 1 to 1000000000"),
        ({"hidden_size": 0}, "hidden_size: 0; give a whole number from 1"),
        ({"hidden_size": True}, "hidden_size: True; give a whole number"),
        ({"hidden_size": 4096.5}, "hidden_size: 4096.5; give a whole number"),
        ({"hidden_size": float("nan")}, "hidden_size: nan; give a whole number"),
        ({"hidden_size": "4096"}, "hidden_size: '4096'; give a whole number"),
        ({"num_hidden_layers": 10**8}, "num_hidden_layers: 100000000; give at most 4096 layers"),
        ({"num_key_value_heads": 3}, "num_key_value_heads: 3; give a divisor of "),
        ({"model_type": "gpt2"}, "'gpt2'; this family is not read; known: bamba, falcon_h1"),
        ({"model_type": None}, "model_type: None; give one of: bamba"),
        ({"model_type": 4}, "model_type: 4; give a string"),
        ({"dtype": "float7"}, "dtype: 'float7'; unknown element type 'float7'; one of: bf16"),
        ({"layer_types": "full"}, "layer_types: 'full'; give a list"),
        ({"layer_types": ["full_attention"]}, "it has 1 entries for 32 layers; give one a layer"),
        ({"layer_types": [["x"]] * 32}, "['x'] is not one of: attention, full_attention"),
    ],
)  # fmt: skip
def test_a_refusal_says_field_value_and_remedy(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        spec_of(QWEN | change, origin="some/config.json")
    assert str(refused.value).startswith("some/config.json: ")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("nemotron_h", {"hybrid_override_pattern": "M*X"}, "give 1 to 4096 of the letters M * - E"),
        ("kimi_linear", {"linear_attn_config": {"kda_layers": [0]}}, "0 is no layer of 1..27"),
        ("kimi_linear", {"linear_attn_config": 3}, "linear_attn_config: 3; give an object"),
        ("falcon_h1", {"mamba_d_head": 3}, "mamba_d_head: 3; 24 heads of it are not 1536 channels"),
        ("samba", {"expand": float("inf")}, "expand: inf; give a number above 0"),
        ("samba", {"attn": {"layers": [], "num_heads": 5}}, "attn.num_heads: 5; 2304 does not"),
        ("hymba", {"num_mamba": 2}, "num_mamba: 2; only one Mamba branch"),
        ("hymba", {"kv_reuse_group": [[1, 99]]}, "99 is no layer of 0..31"),
        ("recurrent_gemma", {"lru_width": 2561}, "2561 does not divide by num_attention_heads 10"),
        ("state-spaces", {"ssm_cfg": {"layer": "Mamba9"}}, "ssm_cfg.layer: 'Mamba9'; give one of"),
        ("state-spaces", {"attn_layer_idx": [3]}, "a mix with attention is not read"),
        ("zamba2", {"n_mamba_heads": 81}, "does not divide by n_mamba_heads 81"),
        ("lfm2", {"block_auto_adjust_ff_dim": "yes"}, "'yes'; give true or false"),
        ("lfm2", {"block_ffn_dim_multiplier": "x"}, "block_ffn_dim_multiplier: 'x'; give a number"),
    ],
)  # fmt: skip
def test_refusals_of_single_families(family: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        spec_of(WHOLE[family] | change)
    assert message in str(refused.value)


def test_windows_of_a_dense_model_are_refused() -> None:
    config = {"model_type": "qwen2", "use_sliding_window": True}
    with pytest.raises(ConfigError, match="use_sliding_window: True; windows of this family"):
        spec_of(config)


def test_a_value_is_cut_short_in_the_message() -> None:
    with pytest.raises(ConfigError) as refused:
        spec_of({"model_type": "x" * 500})
    assert "x" * 70 + "..." in str(refused.value)
    assert "x" * 90 not in str(refused.value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\xff\xfe{}", "byte 0 is not UTF-8; save the file as UTF-8"),
        (b"[1, 2]", "a list, not a JSON object; give a model's config.json"),
        (b"3", "a int, not a JSON object"),
        (b"{", "not JSON that can be read"),
        (b"", "not JSON that can be read"),
        (b"[" * 100_000, "not JSON that can be read"),
        (b'{"hidden_size": ' + b"9" * 5000 + b"}", "not JSON that can be read"),
    ],
)  # fmt: skip
def test_files_that_are_no_configuration(tmp_path: Path, raw: bytes, message: str) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(raw)
    with pytest.raises(ConfigError) as refused:
        read_config(tmp_path)
    assert str(refused.value).startswith(f"{file}: {message}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing: cannot be read \(No such file"):
        read_config(tmp_path / "nothing")


def test_a_folder_gives_the_model_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "Some-Model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(QWEN))
    assert read_config(folder).name == "Some-Model"
    assert read_config(folder / "config.json") == read_config(folder)


def test_a_nested_configuration_inherits_type_and_dtype() -> None:
    text = {key: value for key, value in QWEN.items() if key != "model_type"}
    outer = {"model_type": "qwen3_5", "torch_dtype": "float32", "text_config": text}
    spec = spec_of(outer)
    assert spec.layers == spec_of(QWEN).layers
    assert spec.dtypes.kv.name == "fp32"
    with pytest.raises(ConfigError, match=r"config\.json: text_config\.hidden_size: 0; "):
        spec_of(outer | {"text_config": text | {"hidden_size": 0}})
