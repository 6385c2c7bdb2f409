"""Errors for whatever makes the host wait for a device.  `meta` is the device.

A `meta` tensor has a shape and no data: what reads it cannot but fail.  `NoWaiting` names the
operation, and also refuses what only a GPU would punish: copies that block, and indexing by what
has to be uploaded or counted first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = "meta"
aten = torch.ops.aten
READS = {
    aten._local_scalar_dense, aten.item, aten.is_nonzero, aten.equal, aten.nonzero,
    aten.masked_select, aten._unique2, aten.unique_consecutive, aten.unique_dim,
    aten.repeat_interleave, aten.bincount, aten.allclose,
}  # fmt: skip
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


class DeviceWaitError(AssertionError):
    """The host would wait for the device."""


class NoWaiting:
    """Inside, nothing may wait for the device; `seen` counts operations that touched it."""

    def __init__(self) -> None:
        self._operations = _Operations()
        self._calls = _Calls()

    @property
    def seen(self) -> int:
        return self._operations.seen

    def __enter__(self) -> NoWaiting:
        self._operations.__enter__()
        self._calls.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._calls.__exit__(*error)
        self._operations.__exit__(*error)


class _Calls(TorchFunctionMode):
    """What torch turns into a blocking upload below the operations."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and on_device(args[0]):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(part, list | range | np.ndarray) for part in index):
                raise DeviceWaitError("an index from the host is uploaded")
        if func in (torch.tensor, torch.as_tensor) and _is_device(kwargs.get("device")):
            raise DeviceWaitError("a tensor is built on the host and uploaded, which blocks")
        return func(*args, **kwargs)


class _Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if any(on_device(tensor) for tensor in tensors):
            self.seen += 1
            _refuse(func, args)
        _refuse_copy(func, args, kwargs)
        return func(*args, **kwargs)


def on_device(tensor: torch.Tensor) -> bool:
    return tensor.device.type == DEVICE


def _is_device(device: Any) -> bool:
    return device is not None and torch.device(device).type == DEVICE


def _refuse(func: Any, args: Sequence[Any]) -> None:
    if func.overloadpacket in READS:
        raise DeviceWaitError(f"{func} reads the device")
    if func.overloadpacket in INDEXING and on_device(args[0]):
        for index in args[1]:
            if index is None:
                continue
            if not on_device(index):
                raise DeviceWaitError(f"{func} by an index on the host")
            if index.dtype == torch.bool:
                raise DeviceWaitError(f"{func} by a mask, which has to be counted")


def _refuse_copy(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    if func.overloadpacket is aten._to_copy:
        came, to = on_device(args[0]), torch.device(kwargs.get("device") or args[0].device)
        ends = came, to.type == DEVICE
        waits = not kwargs.get("non_blocking", False)
    elif func.overloadpacket is aten.copy_:
        ends = on_device(args[1]), on_device(args[0])
        waits = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
    else:
        return
    if ends == (True, False):
        raise DeviceWaitError(f"{func} from the device to the host")
    if ends == (False, True) and waits:
        raise DeviceWaitError(f"{func} to the device, which blocks")
