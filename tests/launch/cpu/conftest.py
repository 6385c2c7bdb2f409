"""State pools in the two layouts that kernels meet: one tensor, or a view into a larger arena."""

from collections.abc import Callable, Iterator

import pytest
import torch

_GUARD = 12345.0


_BEFORE, _AFTER = 8, 16


class Arena:
    """Slots inside wider rows, as when the states of several layers share a row.

    `view` is ``(slots, *shape)`` with a uniform stride; what lies between slots is guarded.
    """

    def __init__(self, states: torch.Tensor) -> None:
        slots, shape = states.shape[0], states.shape[1:]
        self._size = states[0].numel()
        self._rows = torch.full((slots, _BEFORE + self._size + _AFTER), _GUARD)
        self.view = torch.as_strided(
            self._rows,
            (slots, *shape),
            (self._rows.stride(0), *states[0].stride()),
            storage_offset=_BEFORE,
        )
        self.view.copy_(states)
        assert not self.view.is_contiguous()

    def check(self) -> None:
        between = [self._rows[:, :_BEFORE], self._rows[:, _BEFORE + self._size :]]
        assert bool((torch.cat(between, dim=1) == _GUARD).all()), "written between two slots"


@pytest.fixture(params=["contiguous", "arena"])
def make_pool(request: pytest.FixtureRequest) -> Iterator[Callable[..., torch.Tensor]]:
    """``make_pool(slots, *shape)``: random states; what surrounds them is checked afterwards."""
    generator = torch.Generator().manual_seed(11)
    arenas: list[Arena] = []

    def make(*shape: int) -> torch.Tensor:
        states = torch.randn(shape, generator=generator)
        if request.param == "contiguous":
            return states
        arenas.append(Arena(states))
        return arenas[-1].view

    yield make
    for arena in arenas:
        arena.check()


@pytest.fixture
def randn() -> Callable[..., torch.Tensor]:
    """``randn(*shape)`` from one seeded generator."""
    generator = torch.Generator().manual_seed(7)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return draw
