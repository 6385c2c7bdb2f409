"""Devices that kernels do not run on: refused by every launcher, before anything is built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from launches import LAUNCHES, pair
from torch._subclasses.fake_tensor import FakeTensorMode

import cachepawl_kernels
from cachepawl_kernels import KernelArgumentError
from cachepawl_kernels.devices import check_runnable, why_not

GPU = torch.device("cuda:0")


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    why_not.cache_clear()
    yield
    why_not.cache_clear()


def nvidia(monkeypatch: pytest.MonkeyPatch, *capability: int) -> list[torch.device]:
    """A GPU of this capability; returns who asked for it."""
    asked: list[torch.device] = []

    def answer(device: torch.device) -> tuple[int, ...]:
        asked.append(device)
        return capability

    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", answer)
    return asked


def amd(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    found = SimpleNamespace(gcnArchName=name)
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: found)


def test_every_launcher_is_among_them() -> None:
    launchers = {
        name
        for name in cachepawl_kernels.__all__
        if not isinstance(getattr(cachepawl_kernels, name), type)
    }
    assert launchers == {name.split(",")[0] for name in LAUNCHES}


@pytest.mark.parametrize("op", LAUNCHES)
def test_no_launcher_takes_another_device(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(op, pair("meta"), "compiled kernels do not run on meta, only on cuda; use the op's")
    refused(op, pair("cpu"), "run on cpu, only on cuda; use the op's .* set TRITON_INTERPRET=1")
    nvidia(monkeypatch, 7, 5)
    message = "cuda:0 has compute capability 7.5; kernels need 8.0 at least; use the op's reference"
    refused_on_gpu(op, message)
    why_not.cache_clear()
    amd(monkeypatch, "gfx906:sramecc+:xnack-")
    refused_on_gpu(op, "cuda:0 is gfx906; kernels run on gfx942; use the op's reference there")


def refused(op: str, arenas: tuple[torch.Tensor, ...], message: str) -> None:
    with pytest.raises(KernelArgumentError, match=message):
        LAUNCHES[op].call(*arenas)


def refused_on_gpu(op: str, message: str) -> None:
    """Of tensors that only say they are on a GPU."""
    with FakeTensorMode():
        refused(op, pair(GPU), message)


@pytest.mark.parametrize("capability", [(8, 0), (8, 9), (9, 0), (10, 0), (12, 1)])
def test_what_is_new_enough_is_asked_once(
    capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = nvidia(monkeypatch, *capability)
    for _ in range(3):
        check_runnable(GPU)
    assert asked == [GPU]


def test_amd(monkeypatch: pytest.MonkeyPatch) -> None:
    amd(monkeypatch, "gfx942:sramecc+:xnack-")
    check_runnable(GPU)


def test_a_driver_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: torch.device) -> None:
        raise RuntimeError("no driver")

    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", fail)
    with pytest.raises(RuntimeError, match=re.escape("no driver")):
        check_runnable(GPU)
    nvidia(monkeypatch, 9, 0)
    check_runnable(GPU)
