"""Both host tiers of `make bench-host` on the same requests: the same bytes, the same hits."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

pytest.importorskip("sglang")

import torch

from benchmarks.host import model
from benchmarks.host.hicache import HiCacheServer, arguments, context
from benchmarks.host.ours import HostScenario, OurServer, Snapshots
from benchmarks.host.run import main
from benchmarks.policy.inputs import find_traces, spec_of
from cachepawl.offline.traces.request import TraceRequest
from cachepawl.types import Key
from cachepawl_launch.cpu.host_copies import Copied, on_a_cpu

DEVICE = 32 << 20
LENGTH, HIT = 3000, 2944
"""A prompt, and its deepest place for a state."""
PROMPTS = 24
SHAPES = model.shapes(DEVICE)
KV, STATE = HIT * SHAPES.entry_bytes, SHAPES.state_bytes


def prompt(number: int) -> array[int]:
    dice = Random(number)
    return array("q", [dice.randrange(5, 5000) for _ in range(LENGTH)])


@pytest.fixture(scope="module")
def theirs() -> Iterator[tuple[HiCacheServer, Copied]]:
    args = arguments(8.0)
    with on_a_cpu() as copied, context(args):
        yield HiCacheServer(args, DEVICE, chunk=8192, longest=8192), copied


def our_server(snapshots: Snapshots = "sglang") -> OurServer:
    return OurServer(
        HostScenario(spec_of("qwen3-next"), DEVICE, "lru", page=model.PAGE, host=8 * DEVICE,
                     snapshots=snapshots)
    )  # fmt: skip


def test_the_model_is_the_same_on_both_sides(theirs: tuple[HiCacheServer, Copied]) -> None:
    pool = theirs[0].rows.mamba_pool.mamba_cache
    state = sum(part[:, 0].nbytes for part in (*pool.conv, pool.temporal))
    assert state == STATE
    assert theirs[0].cache.full_kv_pool_host.size_per_token == SHAPES.entry_bytes


def test_what_left_the_device_comes_back(theirs: tuple[HiCacheServer, Copied]) -> None:
    """Each prompt once, then again when it has left: what crosses the link, on either side."""
    server, copied = theirs
    ours = our_server()
    for turn in range(2):
        for number in range(PROMPTS):
            ids = prompt(number)
            before = dict(copied.bytes), ours.copied
            done = server.serve_both(ids, 16)
            mine = ours.serve(TraceRequest(0.0, Key(ids.tobytes()), 17, ""))
            moved = {way: copied.bytes[way] - before[0][way] for way in copied.bytes}
            mine_moved = {way: ours.copied[way] - before[1][way] for way in moved}
            if turn and number < 2:
                continue  # what is still on its way to the host
            if turn:
                assert (done.usable, done.from_host) == mine == (HIT, HIT)
                # SGLang brings the state to the tree and to the request.
                assert moved["load"] == KV + 2 * STATE
                assert mine_moved["load"] == KV + STATE
            else:
                assert (done.usable, mine[0]) == (0, 0)
    assert copied.bytes["write"] == ours.copied["write"] == PROMPTS * (KV + STATE)


def test_stand_ins_copy_what_they_are_told() -> None:
    dice = torch.Generator().manual_seed(1)
    device = [torch.rand(32, 2, 3, generator=dice) for _ in range(4)]  # K, K, V, V
    k, v = torch.zeros(6, 2, 4, 2, 3), torch.zeros(6, 2, 4, 2, 3)
    tokens, there = torch.arange(8, 16), torch.arange(12, 20)
    copied = Copied()
    copied.write(device, [k, v], tokens, there, 4)
    assert copied.bytes["write"] == 4 * 8 * 2 * 3 * 4
    for layer in range(2):
        to_k, to_v = torch.zeros(32, 2, 3), torch.zeros(32, 2, 3)
        back = torch.arange(24, 32)
        copied.load([k, v], [to_k, to_v], there, back, layer, 4)
        assert torch.equal(to_k[24:32], device[layer][8:16])
        assert torch.equal(to_v[24:32], device[2 + layer][8:16])
        assert not to_k[:24].any()


@pytest.mark.stress
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if find_traces() is None:
        pytest.skip("no traces here")
    words = ["--trace", "conversation", "--requests", "3", "--out", str(tmp_path)]
    assert main(words) == 0
    found: dict[str, Any] = json.loads((tmp_path / "host.json").read_text())
    rows = found["traces"]["conversation"]["rows"]
    assert {row["refused"] for row in rows} == {0}
    written = {row["who"]: row["written"] for row in rows}
    assert (
        written["SGLang, write_through"]
        == (written["cachepawl lru, write_through, SGLang's snapshots"])
    )
    capsys.readouterr()


def test_no_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--traces", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "no such trace" in capsys.readouterr().err
