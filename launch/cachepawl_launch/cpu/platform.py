"""The out-of-tree SGLang platform that runs on plain torch: no Triton, no compiled kernels."""

import torch
from sglang.srt.platforms.cpu import CpuSRTPlatform
from sglang.srt.platforms.device_mixin import PlatformEnum
from sglang.srt.platforms.interface import PlatformCapabilities

from cachepawl_launch.cpu.platform_name import PLATFORM_NAME, selected

__all__ = ["PLATFORM_NAME", "CpuReferencePlatform", "activate", "selected"]


def activate() -> str | None:
    """Entry point of the group ``sglang.srt.platforms``.

    Returns the class to use, or None unless this platform was asked for by name: without a
    name SGLang adopts any platform that does not answer None.
    """
    return f"{__name__}:CpuReferencePlatform" if selected() else None


class CpuReferencePlatform(CpuSRTPlatform):
    """The device is SGLang's own CPU; only the choice of code paths differs.

    Being out of tree sends layers to their ``forward_native`` and allocators to their torch
    versions. SGLang's in-tree CPU engine needs compiled kernels that its wheel lacks.
    """

    _enum = PlatformEnum.OOT
    capabilities = PlatformCapabilities()

    def get_default_attention_backend(self) -> str:
        return "torch_native"

    def support_mamba_cache_extra_buffer(self) -> bool:
        """State snapshots work here: see `tracking`."""
        return True

    def get_compile_backend(self, mode: str | None = None) -> str:
        return "eager"

    def get_torch_profiler_activity(self) -> torch.profiler.ProfilerActivity:
        return torch.profiler.ProfilerActivity.CPU
