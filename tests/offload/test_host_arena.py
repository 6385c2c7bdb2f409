"""The host's buffer: exactly the budget, and page-locked or refused where there is a GPU."""

from __future__ import annotations

import pytest
import torch
from tiers import SHAPES

from cachepawl.errors import ConfigError
from cachepawl.offload import host_arena
from cachepawl.offload.host_arena import HostArena

FRAME = SHAPES.frame_bytes


class Runtime:
    """A CUDA runtime that locks memory, or says an error."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.locked: dict[int, int] = {}
        self.last = 0
        """The last error, kept until it is asked for."""

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:  # noqa: N802
        assert flags == 1
        if not self.code:
            self.locked[address] = size
        self.last = self.code or self.last
        return self.code

    def cudaGetLastError(self) -> int:  # noqa: N802
        last, self.last = self.last, 0
        return last

    def cudaHostUnregister(self, address: int) -> int:  # noqa: N802
        del self.locked[address]
        return 0


@pytest.fixture
def runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    fake = Runtime(request.param)
    monkeypatch.setattr(host_arena, "_runtime", lambda: fake)
    return fake


def test_the_budget_to_the_byte() -> None:
    arena = HostArena(SHAPES, 3 * FRAME + 7, pinned=False)
    assert arena.raw.numel() == arena.budget == 3 * FRAME + 7
    assert not arena.raw.any()
    assert arena.geometry == SHAPES.with_budget(3 * FRAME)
    assert arena.pinning.startswith("not pinned")
    arena.raw[:] = 1
    arena.pages[1] = 5
    arena.states[2] = 6
    assert (arena.raw == 5).nonzero().flatten().tolist() == list(
        range(SHAPES.page_bytes, 2 * SHAPES.page_bytes)
    )
    first = 2 * FRAME
    assert (arena.raw == 6).nonzero().flatten().tolist() == list(
        range(first, first + SHAPES.state_bytes)
    )
    arena.close()


@pytest.mark.parametrize("runtime", [0], indirect=True)
def test_registered_once_and_unregistered_once(runtime: Runtime) -> None:
    arena = HostArena(SHAPES, 4 * FRAME, pinned=True)
    assert runtime.locked == {arena.raw.data_ptr(): 4 * FRAME}
    assert arena.raw.data_ptr() % 4096 == 0
    arena.close()
    arena.close()
    assert runtime.locked == {}


@pytest.mark.parametrize("runtime", [1], indirect=True)
def test_a_driver_that_will_not_register(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("torch can pin memory here")
    with pytest.raises(
        ConfigError,
        match=rf"host tier of {2 * FRAME} bytes cannot be page-locked: the driver says error 1, "
        r"torch .*; .*--cachepawl-host-gb",
    ):
        HostArena(SHAPES, 2 * FRAME, pinned=True)
    # Where torch can, it is asked second, and the log can say why.
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, dtype, pin_memory: empty(*size, dtype=dtype))
    arena = HostArena(SHAPES, 2 * FRAME, pinned=True)
    assert not arena.raw.any()
    assert "the driver would not register it (error 1)" in arena.pinning
    arena.close()
    assert runtime.locked == {}
    assert runtime.last == 0, "the next kernel that torch starts would be blamed for it"


def test_torchs_runtime_says_its_last_error() -> None:
    """Torch's module has no such call; the library that it is linked with has."""
    if torch.version.cuda is None:
        pytest.skip("torch without CUDA")
    forget = host_arena._exported("cudaGetLastError")
    assert forget is not None
    assert isinstance(forget(), int)
    assert host_arena._exported("cudaNoSuchCall") is None


def test_more_than_an_address_space() -> None:
    with pytest.raises(ConfigError, match=r"cannot be mapped: .*; give a smaller"):
        HostArena(SHAPES, 2**62, pinned=False)


def test_less_than_two_frames() -> None:
    with pytest.raises(ConfigError, match="the least is two frames"):
        HostArena(SHAPES, FRAME, pinned=False)
