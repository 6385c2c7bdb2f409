"""Each way to wait for a device is caught; what does not wait for one is let through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from device_guard import DEVICE, DeviceWaitError, NoWaiting

WAITS: dict[str, Callable[[torch.Tensor], Any]] = {
    "item": lambda x: x[0].item(),
    "int": lambda x: int(x[0]),
    "bool": lambda x: bool(x[0] > 1),
    "list": lambda x: x.tolist(),
    "array": lambda x: x.numpy(),
    "cpu": lambda x: x.cpu(),
    "cpu, not blocking": lambda x: x.to("cpu", non_blocking=True),
    "copied out": lambda x: torch.zeros(4, dtype=torch.int64).copy_(x),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 1],
    "write by mask": lambda x: x.__setitem__(x > 1, 0),
    "masked_select": lambda x: torch.masked_select(x, x > 1),
    "unique": lambda x: x.unique(),
    "equal": lambda x: torch.equal(x, x),
    "index from a list": lambda x: x[[1, 2]],
    "write by a list": lambda x: x.__setitem__([1, 2], 0),
    "repeat_interleave": lambda x: torch.repeat_interleave(x, x),
    "upload that blocks": lambda x: torch.tensor([1, 2]).to(DEVICE),
    "built on the device": lambda x: torch.tensor([1, 2], device=DEVICE),
    "copied in": lambda x: x.copy_(torch.zeros(4, dtype=torch.int64)),
}
FAILURES = DeviceWaitError, NotImplementedError, RuntimeError, TypeError
"""What never reaches an operation, torch refuses by itself: a `meta` tensor has nothing to give."""
WORKS: dict[str, Callable[[torch.Tensor], Any]] = {
    "gather and scatter": lambda x: x.__setitem__(x[:2], x[2:]),
    "fill": lambda x: x.zero_(),
    "upload": lambda x: torch.tensor([1, 2]).to(DEVICE, non_blocking=True),
    "a view": lambda x: x[1:2].unsqueeze(0).storage_offset(),
    "other element type": lambda x: x.to(torch.int32),
}


@pytest.mark.parametrize("what", WAITS)
def test_waiting_is_caught(what: str) -> None:
    x = torch.arange(4, device=DEVICE)
    with NoWaiting(), pytest.raises(FAILURES):
        WAITS[what](x)


@pytest.mark.parametrize("what", WORKS)
def test_work_is_not(what: str) -> None:
    x = torch.arange(4, device=DEVICE)
    with NoWaiting() as guard:
        WORKS[what](x)
    assert guard.seen or what == "upload"


@pytest.mark.parametrize("what", WAITS)
def test_on_the_host_all_of_it_is_fine(what: str) -> None:
    if what in ("upload that blocks", "built on the device"):
        pytest.skip("goes to the device")
    with NoWaiting():
        WAITS[what](torch.arange(4))
