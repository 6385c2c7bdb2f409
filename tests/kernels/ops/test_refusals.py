"""What every launcher refuses of an arena, whichever of its arenas it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from launches import LAUNCHES, pair

from cachepawl_kernels.errors import KernelArgumentError

WITH_ARENAS = [(op, i) for op, launch in LAUNCHES.items() for i in range(len(launch.arenas))]
WITH_TWO = [op for op, launch in LAUNCHES.items() if len(launch.arenas) > 1]
BAD: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "dtype": (lambda a: a.view(torch.int8), "{} has dtype torch.int8; an arena is torch.uint8"),
    "strided": (lambda a: a[::2], r"{} has shape \(32768,\) and strides \(2,\); an arena is one"),
    "2-D": (lambda a: a.view(2, -1), r"{} has shape \(2, 32768\) and strides"),
    "misaligned": (lambda a: a[8:], "{} starts at address .* 8 bytes past a multiple of 16"),
}


@pytest.mark.parametrize("wrong", BAD)
@pytest.mark.parametrize(("op", "which"), WITH_ARENAS)
def test_arenas(device: torch.device, op: str, which: int, wrong: str) -> None:
    make, message = BAD[wrong]
    arenas = list(pair(device))
    arenas[which] = make(arenas[which])
    launch = LAUNCHES[op]
    refused(op, arenas, message.format(launch.arenas[which]))
    assert not any(arena.any() for arena in arenas)


@pytest.mark.parametrize("op", WITH_TWO)
def test_two_devices(device: torch.device, op: str) -> None:
    here, elsewhere = pair(device)[0], pair("meta")[0]
    refused(op, [here, elsewhere], "dst is on (cpu|cuda:0) and src on meta; both must be on one")
    refused(op, [elsewhere, here], "dst is on meta and src on (cpu|cuda:0); both must be on one")


@pytest.mark.parametrize("op", LAUNCHES)
def test_devices(op: str) -> None:
    refused(op, list(pair("meta")), "kernels do not run on meta, only on .*cuda; use the op's")


def refused(op: str, arenas: list[torch.Tensor], message: str) -> None:
    with pytest.raises(KernelArgumentError, match=message):
        LAUNCHES[op].call(*arenas)


@pytest.mark.parametrize("op", LAUNCHES)
def test_what_is_right_is_taken(device: torch.device, op: str, guard: object) -> None:
    """Or nothing would follow from the refusals above."""
    LAUNCHES[op].call(*pair(device))
    assert guard is None or guard.launches == 1  # type: ignore[attr-defined]
