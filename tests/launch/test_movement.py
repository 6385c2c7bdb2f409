"""Who moves the arena's bytes where nothing can compile or interpret a kernel."""

from __future__ import annotations

import os

import pytest
import torch

from cachepawl.errors import ConfigError
from cachepawl_launch import movement
from cachepawl_launch.cpu.flags import check_movement
from cachepawl_launch.movement import choose_movement

COMPILED = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="kernels are interpreted here"
)


@pytest.mark.parametrize("how", ["auto", "torch"])
def test_torch_on_the_cpu(how: str) -> None:
    assert choose_movement(how, "cpu").name == "torch"


@COMPILED
def test_kernels_that_cannot_run_are_refused_if_they_were_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"--cachepawl-movement triton: .* on cpu .*use auto"):
        choose_movement("triton", "cpu")


def test_auto_falls_back_where_the_trial_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(movement, "try_out", fail)
    chosen = choose_movement("auto", "cuda")
    assert (chosen.name, chosen.fallbacks) == ("torch", 1)
    assert [line for line in caplog.messages if "moved by torch" in line]
    assert not torch.cuda.is_initialized()


@pytest.mark.parametrize(("how", "interpret"), [("triton", "1"), ("auto", ""), ("torch", "")])
def test_the_cpu_platform_takes(how: str, interpret: str) -> None:
    check_movement(how, interpret)


@pytest.mark.parametrize("interpret", ["", "0"])
def test_the_cpu_platform_refuses_compiled_kernels(interpret: str) -> None:
    with pytest.raises(ConfigError, match="set TRITON_INTERPRET=1"):
        check_movement("triton", interpret)
