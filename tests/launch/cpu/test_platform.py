"""What SGLang makes of the platform and its hooks, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ENTRY_POINTS = """\
[sglang.srt.platforms]
cachepawl_cpu = cachepawl_launch.cpu.platform:activate
"""


@pytest.fixture
def run_python(tmp_path: Path):  # type: ignore[no-untyped-def]
    """``run_python(code, **environment)``: what a fresh interpreter prints, platform installed."""
    info = tmp_path / "cachepawl_cpu_for_test-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: cachepawl-cpu-for-test\nVersion: 0\n"
    )
    (info / "entry_points.txt").write_text(ENTRY_POINTS)

    def run(code: str, **environment: str) -> str:
        env = {k: v for k, v in os.environ.items() if not k.startswith("SGLANG_")}
        env |= environment | {
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
            "CUDA_VISIBLE_DEVICES": "",
        }
        said = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert said.returncode == 0, said.stderr
        return said.stdout.strip()

    return run


SAY_PLATFORM = """
from sglang.srt.platforms import current_platform as p
print(type(p).__module__, p.is_out_of_tree(), p.is_cpu(), p.device_type,
      p.support_mamba_cache_extra_buffer(), p.get_dispatch_key_name())
"""


def test_sglang_adopts_the_platform_when_it_is_named(run_python) -> None:  # type: ignore[no-untyped-def]
    said = run_python(SAY_PLATFORM, SGLANG_PLATFORM="cachepawl_cpu")
    assert said == "cachepawl_launch.cpu.platform True False cpu True native"


@pytest.mark.parametrize("environment", [{}, {"SGLANG_USE_CPU_ENGINE": "1"}])
def test_plain_sglang_never_adopts_it(run_python, environment: dict[str, str]) -> None:  # type: ignore[no-untyped-def]
    said = run_python(SAY_PLATFORM, **environment)
    assert said.startswith("sglang.srt.platforms.")
    assert said.split()[1] == "False"


def test_hooks_do_nothing_unless_selected(run_python) -> None:  # type: ignore[no-untyped-def]
    said = run_python(
        """
from cachepawl_launch.cpu import hooks
hooks.register()
from sglang.srt.plugins.hook_registry import HookRegistry
from sglang.srt.layers.attention.mamba import mamba
print(len(HookRegistry._hooks), hasattr(mamba, "causal_conv1d_fn"))
"""
    )
    assert said == "0 False"


def test_hooks_reach_every_user_of_a_kernel(run_python) -> None:  # type: ignore[no-untyped-def]
    said = run_python(
        """
import sglang.srt.models.qwen3_5  # imported before: its own names must be replaced too
from cachepawl_launch.cpu import hooks
from sglang.srt.plugins.hook_registry import HookRegistry
try:
    hooks.check_applied()
except hooks.MissingHookTargetError as error:
    print("before:", type(error).__name__)
hooks.register()
hooks.register()
HookRegistry.apply_hooks()
hooks.check_applied()
print("hooks a target:", {len(h) for h in HookRegistry._hooks.values()})

import torch
from sglang.srt.layers.attention.linear import gdn_backend
from sglang.srt.layers.attention.mamba import causal_conv1d, mamba
from sglang.srt.layers.attention import hybrid_linear_attn_backend as hybrid
from sglang.srt.models import lfm2, qwen3_5
import sglang.srt.layers.attention.linear.kernels.gdn_triton as gdn_triton
users = [
    (gdn_backend, ["causal_conv1d_fn", "causal_conv1d_update", "fused_gdn_gating"]),
    (gdn_triton, ["chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule_packed_decode"]),
    (mamba, ["mamba_chunk_scan_combined", "selective_state_update"]),
    (hybrid, ["track_mamba_states_if_needed", "track_mamba_states_all_layers"]),
    (qwen3_5, ["fused_sigmoid_mul", "fused_qkvzba_split_reshape_cat_contiguous"]),
    (causal_conv1d, ["_causal_conv1d_fn_triton", "_causal_conv1d_update_triton"]),
]
for module, names in users:
    for name in names:
        if not hasattr(getattr(module, name), "__wrapped__"):
            print("not replaced:", module.__name__, name)
# SGLang's own front of the convolution, with what LFM2 passes.
out = lfm2.causal_conv1d_fn(
    torch.ones(2, 5), torch.ones(2, 3), None, query_start_loc=torch.tensor([0, 2, 5]),
    cache_indices=torch.tensor([1, 0]), has_initial_state=torch.tensor([False, False]),
    conv_states=torch.zeros(2, 2, 2), activation=None)
print(out[0].tolist())
""",
        SGLANG_PLATFORM="cachepawl_cpu",
    )
    assert said.splitlines() == [
        "before: MissingHookTargetError",
        "hooks a target: {1}",
        "[1.0, 2.0, 1.0, 2.0, 3.0]",
    ]


def test_a_missing_target_is_named_and_nothing_is_registered(run_python) -> None:  # type: ignore[no-untyped-def]
    said = run_python(
        """
from cachepawl_launch.cpu import hooks
from sglang.srt.plugins.hook_registry import HookRegistry
hooks.KERNELS["sglang.kernels.ops.mamba.no_such_file.kernel"] = print
try:
    hooks.register()
except hooks.MissingHookTargetError as error:
    print(error)
from sglang.srt.layers.attention.mamba import mamba
print(len(HookRegistry._hooks), hasattr(mamba, "causal_conv1d_fn"))
""",
        SGLANG_PLATFORM="cachepawl_cpu",
    )
    complaint, left = said.splitlines()
    assert "sglang.kernels.ops.mamba.no_such_file.kernel" in complaint
    assert left == "0 False"


def test_pinning_is_switched_off_in_one_place_only(run_python) -> None:  # type: ignore[no-untyped-def]
    said = run_python(
        """
import torch
from cachepawl_launch.cpu import hooks
mask = torch.tensor([True, False])
def pins():
    return mask.pin_memory() is mask
print(hooks._without_pinning(pins))
try:
    print("outside:", pins())
except RuntimeError:
    print("outside: refused")
"""
    )
    assert said.splitlines() == ["True", "outside: refused"]


@pytest.mark.parametrize("page_size", [1, 16])
def test_sglang_knows_every_flag(run_python, page_size: int) -> None:  # type: ignore[no-untyped-def]
    said = run_python(
        f"""
import argparse
from cachepawl_launch.cpu.flags import serve_args
from cachepawl_launch.cpu.tiny_config import FAMILIES, WITHOUT_EXTRA_BUFFER
from sglang.srt.server_args import ServerArgs
parser = argparse.ArgumentParser()
ServerArgs.add_cli_args(parser)
for family in FAMILIES:
    if {page_size} == 1 or family not in WITHOUT_EXTRA_BUFFER:
        args = parser.parse_args(["--model-path", "m", *serve_args(family, {page_size})])
        print(family, args.page_size, args.disable_overlap_schedule)
"""
    )
    rows = [line.split() for line in said.splitlines()]
    assert len(rows) == (5 if page_size == 1 else 4)
    for family, page, overlap_off in rows:
        assert page == str(page_size)
        assert overlap_off == str(family == "lfm2")
