"""Put the reference kernels in SGLang's place, in a process that selected this platform.

SGLang only logs a hook whose target does not exist, and serves on without it. So every target
is resolved before the first one is registered, and `check_applied` tells afterwards whether
SGLang applied them.
"""

import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import torch
from sglang.srt.plugins.hook_registry import HookRegistry, HookType
from torch.overrides import TorchFunctionMode

from cachepawl_launch.cpu import conv, gdn, mamba2, norms, projections, tracking
from cachepawl_launch.cpu.platform import selected

_T = TypeVar("_T")

_MAMBA = "sglang.kernels.ops.mamba."
_ATTENTION = "sglang.kernels.ops.attention."

# Triton launchers, by the name under which SGLang defines them.
KERNELS: dict[str, Callable[..., object]] = {
    _MAMBA + "causal_conv1d_triton.causal_conv1d_fn": conv.causal_conv1d_fn,
    _MAMBA + "causal_conv1d_triton.causal_conv1d_update": conv.causal_conv1d_update,
    _MAMBA + "triton_ops.ssd_combined.mamba_chunk_scan_combined": mamba2.mamba_chunk_scan_combined,
    _MAMBA + "triton_ops.ssu_dispatch.selective_state_update": mamba2.selective_state_update,
    _MAMBA + "mamba_state_scatter_triton.track_mamba_states_if_needed": (
        tracking.track_mamba_states_if_needed
    ),
    _MAMBA + "mamba_state_scatter_triton.track_mamba_states_all_layers": (
        tracking.track_mamba_states_all_layers
    ),
    _ATTENTION + "linear.fused_gdn_gating.fused_gdn_gating": gdn.fused_gdn_gating,
    _ATTENTION + "fla.chunk.chunk_gated_delta_rule": gdn.chunk_gated_delta_rule,
    _ATTENTION + "fla.fused_recurrent.fused_recurrent_gated_delta_rule_packed_decode": (
        gdn.fused_recurrent_gated_delta_rule_packed_decode
    ),
    _ATTENTION + "fla.layernorm_gated.rms_norm_gated": norms.rms_norm_gated,
    _ATTENTION + "triton_gdn_fused_proj.fused_qkvzba_split_reshape_cat_contiguous": (
        projections.fused_qkvzba_split_reshape_cat_contiguous
    ),
    "sglang.kernels.ops.elementwise.elementwise.fused_sigmoid_mul": projections.fused_sigmoid_mul,
}

# The Mamba-2 mixer imports its convolutions only where it sees an accelerator: off one, these
# names do not exist in its module and there is nothing to hook.
MIXER = "sglang.srt.layers.attention.mamba.mamba"
MIXER_NAMES: dict[str, Callable[..., object]] = {
    "causal_conv1d_fn": conv.causal_conv1d_fn,
    "causal_conv1d_fn_triton": conv.causal_conv1d_fn,
    "causal_conv1d_update": conv.causal_conv1d_update,
    "causal_conv1d_update_triton": conv.causal_conv1d_update,
}

# Pins its track mask without asking whether memory can be pinned.
DECODE_PREPARATION = "sglang.srt.managers.schedule_batch.ScheduleBatch.prepare_for_decode"

# What stood at each target before anything was registered.
_stock: dict[str, Any] = {}


class MissingHookTargetError(RuntimeError):
    """A name in SGLang that this platform replaces is not there, or was not replaced."""


def register() -> None:
    """Register every replacement with SGLang's HookRegistry, to be applied by `load_plugins`.

    Does nothing unless ``SGLANG_PLATFORM`` selects this platform, nor when called again.

    Raises:
        MissingHookTargetError: a target does not exist; nothing has been registered then.
    """
    if selected():
        _register_once()


def check_applied() -> None:
    """Verify, in this process, that the replacements are in place. Changes nothing.

    Raises:
        MissingHookTargetError: SGLang did not apply a hook, or `register` has not run here.
    """
    for target in (*KERNELS, DECODE_PREPARATION):
        if target not in _stock or _resolve(target) is _stock[target]:
            raise MissingHookTargetError(f"SGLang did not apply the hook on {target}")
    mixer = _resolve(MIXER)
    for name, kernel in MIXER_NAMES.items():
        if getattr(mixer, name, None) is not kernel:
            raise MissingHookTargetError(f"{MIXER}.{name} is not the reference kernel")


@cache
def _register_once() -> None:
    mixer = _resolve(MIXER)
    _stock.update({target: _resolve(target) for target in (*KERNELS, DECODE_PREPARATION)})
    for name, kernel in MIXER_NAMES.items():
        setattr(mixer, name, kernel)
    for target, kernel in KERNELS.items():
        HookRegistry.register(target, kernel, HookType.REPLACE)
    HookRegistry.register(DECODE_PREPARATION, _without_pinning, HookType.AROUND)


def _resolve(target: str) -> Any:
    try:
        return pkgutil.resolve_name(target)
    except (ImportError, AttributeError) as error:
        raise MissingHookTargetError(
            f"SGLang has no {target}: the cachepawl_cpu platform does not fit this version"
        ) from error


class _NoPinning(TorchFunctionMode):
    """Within this mode, in this thread, `Tensor.pin_memory` returns the tensor itself."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.Tensor.pin_memory:
            return args[0]
        return func(*args, **(kwargs or {}))


def _without_pinning(original: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    """Pinning memory needs a driver; memory that is the device's own has no use for it."""
    with _NoPinning():
        return original(*args, **kwargs)
