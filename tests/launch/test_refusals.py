"""Every flag that is not served is refused by name, with its reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from sglang.srt.server_args import ServerArgs

from cachepawl.errors import ConfigError
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.pool.sizing import caps
from cachepawl_launch.refusals import REFUSALS, Refusal, notices, refuse_flags

FINE: dict[str, Any] = {
    "radix_cache_backend": "cachepawl",
    "kv_cache_dtype": "auto",
    "pp_size": 1,
    "dcp_size": 1,
    "radix_eviction_policy": "lru",
    "disaggregation_mode": "null",
}
ON: dict[str, Any] = {
    "mamba_radix_cache_strategy": "extra_buffer_lazy",
    "mamba_max_states_per_path": 4,
    "disaggregation_mode": "prefill",
    "radix_eviction_policy": "lfu",
    "pp_size": 2,
    "dcp_size": 2,
}


def test_defaults_are_served() -> None:
    refuse_flags(SimpleNamespace(**FINE), "cachepawl")


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda r: r.flag)
def test_refused_by_name(refusal: Refusal) -> None:
    args = SimpleNamespace(**(FINE | {refusal.field: ON.get(refusal.field, True)}))
    with pytest.raises(ConfigError, match=refusal.flag) as error:
        refuse_flags(args, "cachepawl")
    assert refusal.reason in str(error.value)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda r: r.flag)
def test_the_field_exists(refusal: Refusal) -> None:
    """A renamed field would never be refused."""
    assert refusal.field in ServerArgs.__struct_fields__


@pytest.mark.parametrize(
    ("field", "value"), [("radix_cache_backend", "flexkv"), ("kv_cache_dtype", "mxfp8")]
)
def test_other_backends_and_dtypes(field: str, value: str) -> None:
    with pytest.raises(ConfigError, match=value):
        refuse_flags(SimpleNamespace(**(FINE | {field: value})), "cachepawl")


def test_caps_that_no_request_fits_under() -> None:
    """Such a server would let every request wait for ever."""
    kv = KvShape(layers=1, heads=1, head_dim=8, v_head_dim=8, itemsize=4)
    shapes = Geometry(kv, StateShape(1, ((8, 3),), 4, (4, 4), 4), 16)
    with pytest.raises(ConfigError, match="--max-mamba-cache-size 2: a request takes 3"):
        caps(shapes, 3, None, 2)
    with pytest.raises(ConfigError, match=r"--max-total-tokens 16: .* give at least 32"):
        caps(shapes, 3, 16, None)
    assert caps(shapes, 3, 64, 3) == (4, 3)


def test_memory_flags_are_explained() -> None:
    args = SimpleNamespace(mamba_full_memory_ratio=0.5, max_total_tokens=9, max_mamba_cache_size=7)
    given = {"--mamba-full-memory-ratio", "--max-total-tokens", "--max-mamba-cache-size"}
    said = " ".join(notices(args, given))
    assert all(flag in said for flag in given)
    assert notices(args, set()) == []
