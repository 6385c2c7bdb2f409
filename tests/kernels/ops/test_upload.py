"""A launcher never waits for the device: its table goes up from pinned memory, without blocking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from launches import LAUNCHES, pair
from torch.overrides import TorchFunctionMode

from cachepawl_kernels.launching import upload


class NoDriver(TorchFunctionMode):
    """Notes what is pinned and what goes up, and does neither."""

    def __init__(self) -> None:
        super().__init__()
        self.pinned: list[torch.Tensor] = []
        self.sent: list[torch.Tensor] = []

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty and kwargs.pop("pin_memory", False):
            self.pinned.append(func(*args, **kwargs))
            return self.pinned[-1]
        if func in (torch.Tensor.to, torch.Tensor.copy_, torch.Tensor.cuda):
            assert kwargs.get("non_blocking"), f"{func.__name__} blocks"
            assert any(args[0] is one for one in self.pinned), "what goes up is not pinned"
            self.sent.append(args[0])
            return args[0]
        assert func is not torch.Tensor.pin_memory, "pinning a copy instead of writing in place"
        return func(*args, **kwargs)


def test_a_table_goes_up_without_blocking() -> None:
    with NoDriver() as seen:
        table = upload((np.arange(3), np.arange(3) * 7), torch.device("cuda", 0))
    assert seen.sent == seen.pinned == [table]
    assert table.tolist() == [[0, 0], [1, 7], [2, 14]]


@pytest.mark.parametrize("op", LAUNCHES)
def test_no_launcher_waits(device: torch.device, op: str) -> None:
    if device.type != "cuda":
        pytest.skip("needs a GPU: only torch's own check sees every wait")
    arenas = pair(device)
    LAUNCHES[op].call(*arenas)  # compiles
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        LAUNCHES[op].call(*arenas)
    finally:
        torch.cuda.set_sync_debug_mode("default")
