"""The one byte buffer of the host tier, page-locked where there is a GPU.  Needs torch.

An anonymous mapping of exactly the budget, which the driver is then told to lock.  Memory that
torch pins itself is rounded up to a power of two, so it is only the way out where a mapping
cannot be registered.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from pathlib import Path
from typing import Any

import torch

from cachepawl.errors import ConfigError
from cachepawl.offload.host_budget import FLAG, host_geometry, pinning_remedy
from cachepawl.pool.geometry import Geometry


class HostArena:
    """`budget` bytes of host memory, zero; frames of the device's shapes lie at its start.

    `pinned` for a GPU: then copies run beside the host and the GPU can address it.  Reserving
    is all or nothing: ConfigError, with nothing left reserved, where memory is refused.  Whether
    the machine holds so much is `check_host_budget`'s to say, before.
    """

    def __init__(self, device: Geometry, budget: int, *, pinned: bool) -> None:
        self.geometry = host_geometry(device, budget)
        self.budget = budget
        self.pinning = "not pinned: there is no GPU"
        """How the memory was page-locked, for the log."""
        self._registered = False
        if pinned:
            self.raw = self._pinned()
        else:
            self.raw = _mapped(budget)
        """`(budget,)` uint8 on the CPU."""
        used = self.raw[: self.geometry.total_bytes]
        self.frames = used.view(self.geometry.num_frames, self.geometry.frame_bytes)
        """`(frames, frame_bytes)` uint8."""
        self.pages = used.view(-1, self.geometry.page_bytes)
        """`(pages, page_bytes)` uint8."""
        self.states = self.frames[:, : self.geometry.state_bytes]
        """`(frames, state_bytes)` uint8."""

    def close(self) -> None:
        """Unlock the memory; no transfer may be under way, and none may follow."""
        if self._registered:
            self._registered = False
            _runtime().cudaHostUnregister(self.raw.data_ptr())

    def _pinned(self) -> torch.Tensor:
        raw = _mapped(self.budget)
        failure = _register(raw)
        if failure is None:
            self._registered = True
            self.pinning = "pinned: registered with the driver"
            return raw
        del raw
        try:
            # Zeroed like the mapping, which also touches every page once, here.
            raw = torch.empty(self.budget, dtype=torch.uint8, pin_memory=True).zero_()
        except RuntimeError as error:
            raise ConfigError(
                f"a host tier of {self.budget} bytes cannot be page-locked: the driver says "
                f"{failure}, torch {_first_line(error)}; {pinning_remedy(self.budget)}"
            ) from None
        self.pinning = f"pinned by torch, rounded up: the driver would not register it ({failure})"
        return raw


def _mapped(budget: int) -> torch.Tensor:
    """`(budget,)` zero bytes that start on a page of the machine."""
    try:
        memory = mmap.mmap(-1, budget, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"a host tier of {budget} bytes cannot be mapped: {error}; give a smaller {FLAG}, or "
            f"raise this process's address space (ulimit -v)"
        ) from None
    # Fewer and larger pages to lock and to translate; not every kernel has them.
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.uint8)


def _register(raw: torch.Tensor) -> str | None:
    """Page-lock memory for all devices of the process; what the driver says when it will not."""
    portable = 1
    code = _runtime().cudaHostRegister(raw.data_ptr(), raw.numel(), portable)
    if int(code) == 0:
        return None
    _forget_error()
    return f"error {int(code)}"


def _forget_error() -> None:
    """CUDA keeps a refusal, and torch would take it for that of the next kernel it starts."""
    forget = getattr(_runtime(), "cudaGetLastError", None) or _exported("cudaGetLastError")
    if forget is not None:
        forget()


def _exported(name: str) -> Any:
    """A function of the runtime that torch is linked with; None where it shows none."""
    library = Path(torch.__file__).parent / "lib" / "libtorch_cuda.so"
    try:
        return getattr(ctypes.CDLL(str(library)), name, None)
    except OSError:
        return None


def _runtime() -> Any:
    """CUDA's runtime as torch has loaded it."""
    return torch.cuda.cudart()


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
