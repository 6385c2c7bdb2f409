"""What SGLang makes of the platform and its hooks.

Importing SGLang is slow and hooks cannot be taken back, so each situation is one process, which
reports what it saw as JSON.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("platform")
ENTRY_POINTS = """\
[sglang.srt.platforms]
cachepawl_cpu = cachepawl_launch.cpu.platform:activate
"""
METADATA = "Metadata-Version: 2.1\nName: cachepawl-cpu-for-test\nVersion: 0\n"

PRELUDE = """
from cachepawl import collector
collector.rest()  # for good; this process ends soon
import json, torch
from sglang.srt.platforms import current_platform as platform
from sglang.srt.plugins.hook_registry import HookRegistry
from sglang.srt.layers.attention.mamba import mamba as mixer
from cachepawl_launch.cpu import hooks

def untouched():
    return not HookRegistry._hooks and not hasattr(mixer, "causal_conv1d_fn")

saw = {
    "platform": type(platform).__module__,
    "out_of_tree": platform.is_out_of_tree(),
    "device": platform.device_type,
}
"""

PLAIN = """
hooks.register()
saw["untouched"] = untouched()

mask = torch.tensor([True, False])
def pinned_to_itself():
    return mask.pin_memory() is mask
saw["pinning_off_inside"] = hooks._without_pinning(pinned_to_itself)
try:
    saw["pinning_outside"] = pinned_to_itself()
except RuntimeError:
    saw["pinning_outside"] = "refused"

import argparse
from cachepawl_launch.cpu.flags import serve_args
from cachepawl_launch.cpu.tiny_config import FAMILIES
from sglang.srt.server_args import ServerArgs
parser = argparse.ArgumentParser()
ServerArgs.add_cli_args(parser)
saw["parsed"] = {}
for family, page in [(f, p) for f in FAMILIES for p in (1, 16) if (f, p) != ("lfm2", 16)]:
    args = parser.parse_args(["--model-path", "m", *serve_args(family, page)])
    saw["parsed"][f"{family} {page}"] = [args.page_size, args.disable_overlap_schedule]
print(json.dumps(saw))
"""

SELECTED = """
saw["extra_buffer"] = platform.support_mamba_cache_extra_buffer()
saw["dispatch"] = platform.get_dispatch_key_name()

hooks.KERNELS["sglang.kernels.ops.mamba.no_such_file.kernel"] = print
try:
    hooks.register()
except hooks.MissingHookTargetError as error:
    saw["missing"] = str(error)
saw["untouched_after_missing"] = untouched()
hooks.KERNELS.popitem()

# Imported before the hooks are applied: its own names must be replaced too.
from sglang.srt.models import qwen3_5
try:
    hooks.check_applied()
except hooks.MissingHookTargetError as error:
    saw["before"] = str(error)
hooks.register()
hooks.register()
HookRegistry.apply_hooks()
hooks.check_applied()
saw["hooks_a_target"] = sorted({len(h) for h in HookRegistry._hooks.values()})

from sglang.srt.layers.attention import hybrid_linear_attn_backend as hybrid
from sglang.srt.layers.attention.linear import gdn_backend
from sglang.srt.layers.attention.linear.kernels import gdn_triton
from sglang.srt.layers.attention.mamba import causal_conv1d
from sglang.srt.models import lfm2
users = [
    (gdn_backend, ["causal_conv1d_fn", "causal_conv1d_update", "fused_gdn_gating"]),
    (gdn_triton, ["chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule_packed_decode"]),
    (mixer, ["mamba_chunk_scan_combined", "selective_state_update"]),
    (hybrid, ["track_mamba_states_if_needed", "track_mamba_states_all_layers"]),
    (qwen3_5, ["fused_sigmoid_mul", "fused_qkvzba_split_reshape_cat_contiguous"]),
    (causal_conv1d, ["_causal_conv1d_fn_triton", "_causal_conv1d_update_triton"]),
]
ours = {id(kernel) for kernel in hooks.KERNELS.values()}
def replaced(function):
    calls = [cell.cell_contents for cell in function.__closure__ or ()]
    return any(id(called) in ours for called in calls)
saw["not_replaced"] = [
    f"{module.__name__}.{name}"
    for module, names in users
    for name in names
    if not replaced(getattr(module, name))
]
# SGLang's own front of the convolution, with what LFM2 passes.
saw["lfm2_conv"] = lfm2.causal_conv1d_fn(
    torch.ones(2, 5), torch.ones(2, 3), None, query_start_loc=torch.tensor([0, 2, 5]),
    cache_indices=torch.tensor([1, 0]), has_initial_state=torch.tensor([False, False]),
    conv_states=torch.zeros(2, 2, 2), activation=None)[0].tolist()
print(json.dumps(saw))
"""


def observe(code: str, folder: Path, **environment: str) -> dict[str, Any]:
    """Run `code` in a fresh interpreter in which the platform is installed."""
    info = folder / "cachepawl_cpu_for_test-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    env = {k: v for k, v in os.environ.items() if not k.startswith("SGLANG_")}
    env |= {
        "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
        "CUDA_VISIBLE_DEVICES": "",
        **environment,
    }
    command = [sys.executable, "-W", "ignore", "-c", PRELUDE + code]
    said = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert said.returncode == 0, said.stderr
    report: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    return report


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """SGLang with the platform installed and nobody asking for it."""
    return observe(PLAIN, tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def selected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return observe(SELECTED, tmp_path_factory.mktemp("selected"), SGLANG_PLATFORM="cachepawl_cpu")


def test_plain_sglang_never_adopts_the_platform(plain: dict[str, Any]) -> None:
    assert plain["platform"].startswith("sglang.srt.platforms.")
    assert not plain["out_of_tree"]


def test_hooks_do_nothing_unless_selected(plain: dict[str, Any]) -> None:
    assert plain["untouched"]


def test_pinning_is_switched_off_in_one_place_only(plain: dict[str, Any]) -> None:
    assert plain["pinning_off_inside"] is True
    assert plain["pinning_outside"] == "refused"


def test_sglang_knows_every_flag(plain: dict[str, Any]) -> None:
    assert len(plain["parsed"]) == 9
    for case, (page, overlap_off) in plain["parsed"].items():
        family, asked = case.split()
        assert page == int(asked)
        assert overlap_off == (family == "lfm2")


def test_sglang_adopts_the_platform_when_it_is_named(selected: dict[str, Any]) -> None:
    assert selected["platform"] == "cachepawl_launch.cpu.platform"
    assert selected["out_of_tree"]
    assert selected["device"] == "cpu"
    assert selected["extra_buffer"]
    assert selected["dispatch"] == "native"


def test_a_missing_target_is_named_and_nothing_is_registered(selected: dict[str, Any]) -> None:
    assert "sglang.kernels.ops.mamba.no_such_file.kernel" in selected["missing"]
    assert selected["untouched_after_missing"]


def test_hooks_not_applied_are_noticed(selected: dict[str, Any]) -> None:
    assert "did not apply" in selected["before"]


def test_hooks_reach_every_user_of_a_kernel(selected: dict[str, Any]) -> None:
    assert selected["not_replaced"] == []
    assert selected["hooks_a_target"] == [1], "registering twice is registering once"
    assert selected["lfm2_conv"] == [1.0, 2.0, 1.0, 2.0, 3.0]
