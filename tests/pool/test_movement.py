"""Plain torch moves what it is told, and takes over for good where a kernel does not start."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cachepawl.pool import movement
from cachepawl.pool.movement import TorchMovement, Units
from cachepawl.pool.moves import Move
from cachepawl.pool.triton_movement import FallingBack

PAGE, PAGES = 4, 24


def pages() -> Units:
    return Units(torch.arange(PAGE * PAGES).to(torch.uint8), PAGE, PAGE)


@given(data=st.data(), at_once=st.integers(1, 40))
def test_runs_are_copied_in_parts_of_any_size(data: st.DataObject, at_once: int) -> None:
    places = data.draw(st.permutations(range(0, PAGES, 3)))
    moves = [
        Move(source, target, data.draw(st.integers(1, 3)))
        for source, target in zip(places[:4], places[4:], strict=True)
    ][: data.draw(st.integers(0, 4))]
    units, wanted = pages(), pages().raw.view(PAGES, PAGE)
    for source, target, count in moves:
        wanted[target : target + count] = wanted[source : source + count].clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(movement, "COPY_BYTES", at_once)
        TorchMovement().move_runs(units, iter(moves))
    assert torch.equal(units.raw, wanted.flatten())


class NeverStarts(TorchMovement):
    """As kernels that a driver cannot compile."""

    name = "kernels"

    def __init__(self) -> None:
        super().__init__()
        self.tried = 0

    def _fail(self, *_: object) -> None:
        self.tried += 1
        raise RuntimeError("no compiler\nfor this device")

    copy_units = zero_units = move_runs = zero_listed = fork_states = _fail


def test_torch_takes_over_for_good_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    kernels = NeverStarts()
    both = FallingBack(kernels, TorchMovement())
    assert both.name == "kernels"
    units, wanted = pages(), pages()

    def moves() -> Iterable[Move]:
        yield Move(1, 5, 2)

    with caplog.at_level(logging.WARNING):
        both.move_runs(units, moves())
        both.copy_units(units, torch.tensor([0]), torch.tensor([9]))
        both.zero_units(units, torch.tensor([3]))
        both.zero_listed(units, [4])
    rows = wanted.raw.view(PAGES, PAGE)
    rows[5:7], rows[9], rows[3:5] = rows[1:3].clone(), rows[0].clone(), 0
    assert torch.equal(units.raw, wanted.raw)
    assert (both.name, both.fallbacks, kernels.tried) == ("torch", 1, 1)
    assert sum(both.calls.values()) == 4
    (line,) = caplog.messages
    assert "moved by torch from now on" in line
    assert line.endswith("RuntimeError: no compiler")
