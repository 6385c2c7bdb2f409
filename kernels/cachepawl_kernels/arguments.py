"""Checks that every launcher makes before it launches.

What a kernel is told (offsets, ids, lengths) arrives as host tensors, for the allocator's
truth is on the host: all of it can be checked without reading anything back from the device.
It is checked as NumPy arrays over the same memory: an operation on a short array costs a
fraction of torch's, and a launch makes dozens of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from cachepawl_kernels.errors import KernelArgumentError

ALIGN = 16
"""Bytes: bulk copies move 16 bytes an access, so everything starts and ends on this."""

Column = npt.NDArray[np.int64]
"""`(n,)`: what a kernel is told, on the host."""
Flags = npt.NDArray[np.bool_]


def check_arena(name: str, arena: torch.Tensor) -> None:
    """`arena` is `(bytes,)` uint8, contiguous, and starts on `ALIGN` bytes."""
    if arena.dtype != torch.uint8:
        raise KernelArgumentError(f"{name} has dtype {arena.dtype}; an arena is torch.uint8")
    if arena.dim() != 1 or not arena.is_contiguous():
        raise KernelArgumentError(
            f"{name} has shape {tuple(arena.shape)} and strides {arena.stride()}; "
            f"an arena is one contiguous dimension"
        )
    if arena.data_ptr() % ALIGN:
        raise KernelArgumentError(
            f"{name} starts at address {arena.data_ptr()}, "
            f"{arena.data_ptr() % ALIGN} bytes past a multiple of {ALIGN}"
        )


def as_words(arena: torch.Tensor) -> torch.Tensor:
    """The arena's whole 16-byte units as int64 words; at most 15 bytes at its end are left out."""
    rest = arena.numel() % ALIGN
    return (arena[:-rest] if rest else arena).view(torch.int64)


def check_same_device(first: str, one: torch.Tensor, second: str, other: torch.Tensor) -> None:
    """Both tensors are on one device."""
    if one.device != other.device:
        raise KernelArgumentError(
            f"{first} is on {one.device} and {second} on {other.device}; both must be on one device"
        )


def common_device(first: str, one: torch.Tensor, second: str, other: torch.Tensor) -> torch.device:
    """The device whose programs can address both: they are on it, or one is pinned on the host.

    A GPU reads and writes page-locked host memory over its bus, without a copy.
    """
    if one.device == other.device:
        return one.device
    for here, there in ((one, other), (other, one)):
        if here.device.type == "cuda" and there.device.type == "cpu" and there.is_pinned():
            return here.device
    raise KernelArgumentError(
        f"{first} is on {one.device} and {second} on {other.device}; both must be on one device, "
        f"or one of them in pinned host memory"
    )


def host_column(name: str, values: torch.Tensor) -> Column:
    """`values`, an `(n,)` int64 tensor on the host, as an array over the same memory."""
    if values.dtype != torch.int64 or values.dim() != 1:
        raise KernelArgumentError(
            f"{name} has dtype {values.dtype} and shape {tuple(values.shape)}; "
            f"it must be one dimension of torch.int64"
        )
    if not values.is_cpu:
        raise KernelArgumentError(
            f"{name} is on {values.device}; it is checked on the host, so it must be a CPU tensor"
        )
    return values.numpy()


def check_same_length(**columns: Column) -> None:
    """All columns have as many elements as the first."""
    sizes = {name: column.size for name, column in columns.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise KernelArgumentError(f"columns of different lengths: {listed}")


def check_ids(name: str, ids: Column, limit: int) -> None:
    """Every id is in `[0, limit)`."""
    refuse_first(
        (ids < 0) | (ids >= limit),
        lambda i: f"{name}[{i}] is {ids[i]}; ids are in [0, {limit})",
    )


def check_distinct(name: str, ids: Column) -> None:
    """No id twice: two programs would write the same bytes."""
    order = ids.argsort(kind="stable")
    ordered = ids[order]
    refuse_first(
        ordered[1:] == ordered[:-1],
        lambda at: f"{name}[{order[at]}] and {name}[{order[at + 1]}] are both {ordered[at]}",
    )


def check_multiple(name: str, value: int, unit: int = ALIGN) -> None:
    """`value` is a multiple of `unit`, and not negative."""
    if value < 0 or value % unit:
        raise KernelArgumentError(f"{name} is {value}; it must be a multiple of {unit}, at least 0")


def check_positive(name: str, value: int) -> None:
    """`value` is at least 1."""
    if value < 1:
        raise KernelArgumentError(f"{name} is {value}; it must be at least 1")


def refuse_first(bad: Flags, message: Callable[[int], str]) -> None:
    """KernelArgumentError with `message(i)` for the first true element of `bad`, if any."""
    if np.count_nonzero(bad):  # a tenth of the time of bad.any()
        raise KernelArgumentError(message(int(bad.argmax())))
