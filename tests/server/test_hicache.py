"""SGLang's own host cache on this platform: what left the device comes back, and is the same.

A stock server through `cachepawl_launch.cpu.hicache_server`, which `benchmarks.host.served`
compares with ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import TOLERANCE, VOCABULARY, Client, Server, command, launched, tokens
from ports import free_port

from benchmarks.host.contestants import STOCK, Model
from benchmarks.host.served import compare
from benchmarks.host.talk import ORDERS, Sizes
from cachepawl.policy import POLICIES
from cachepawl_launch.cpu.flags import Limits
from cachepawl_launch.cpu.hicache_server import counted

pytestmark = pytest.mark.stress

PAGE, PROMPTS, LENGTH = 16, 12, 300
HOST = ["--enable-hierarchical-cache", "--hicache-ratio", "8", "--hicache-io-backend", "direct",
        "--hicache-mem-layout", "page_first_direct", "--enable-metrics"]  # fmt: skip
LIMITS = Limits(total_tokens=1024, states=12, requests=2, context=1024, chunked_prefill=256)


@contextmanager
def stock(family: str, folder: Path, *, entry: str) -> Iterator[Server]:
    """A stock server with its host cache, by one entry module or another."""
    port = free_port()
    words = command(family, PAGE, port, pawl=False, limits=LIMITS, more=HOST)
    words[words.index("sglang.launch_server")] = entry
    log = folder / f"{entry}-{family}.log"
    with launched(words, port, log) as server:
        yield server


@pytest.mark.parametrize("family", ["nemotron_h", "qwen3"])
def test_what_left_the_device_comes_back(family: str, tmp_path: Path) -> None:
    prompts = [[VOCABULARY[i], *tokens(900 + i, LENGTH - 1)] for i in range(PROMPTS)]
    with (
        counted(tmp_path / "copied") as copied,
        stock(family, tmp_path, entry="cachepawl_launch.cpu.hicache_server") as live,
    ):
        client = live.client
        cold = [client.generate(ids) for ids in prompts]
        assert {answer.cached for answer in cold} == {0}
        warm = [client.generate(ids) for ids in prompts]
        assert max(a.distance(b) for a, b in zip(cold, warm, strict=True)) < TOLERANCE
        assert sum(answer.from_host for answer in warm) > 0
        tells_what_it_copied(client, copied.bytes)


def tells_what_it_copied(client: Client, copied: dict[str, int]) -> None:
    """Its own figures are what the stand-ins have counted."""
    told = client.metrics()
    assert copied["write"] == told["sglang:hicache_backup_bytes_total"] > 0
    assert copied["load"] == told["sglang:load_back_bytes_total"] > 0


def test_nobody_gets_it_unasked(tmp_path: Path) -> None:
    """SGLang's own entry on the same platform: a GPU's driver is to register its host pools."""
    with (
        pytest.raises(AssertionError, match=r"cudart = torch\.cuda\.cudart\(\)"),
        stock("nemotron_h", tmp_path, entry="sglang.launch_server"),
    ):
        pass


SMALL = [
    (Model("nemotron_h", "nemotron_h", 512, 11264, 640 << 10, context=1024), 10),
    (Model("qwen3", "qwen3", 768, 0, 4 << 20, context=1024), 24),
]
"""And how many conversations are more than their devices hold."""


@pytest.mark.parametrize(("model", "conversations"), SMALL, ids=["nemotron_h", "qwen3"])
def test_side_by_side_with_ours(model: Model, conversations: int, tmp_path: Path) -> None:
    """The benchmark, small: the same requests and answers, in the same bytes."""
    sizes = Sizes(conversations, turns=2, common=64, first=200, more=100, answer=8)
    scripts = {name: order(sizes) for name, order in ORDERS.items()}
    rows = compare(model, scripts, (STOCK, *POLICIES), tmp_path, start=launched)
    assert [row["server"] for row in rows] == [STOCK, *POLICIES] * 2
    for name in scripts:
        stock, *ours = (row for row in rows if row["order"] == name)
        for row in (stock, *ours):
            assert row["requests"] == 2 * conversations
            assert row["prompt_tokens"] == stock["prompt_tokens"]
            assert row["other_answers"] == 0
            assert row["host_tokens"] > 0 or name != "in turn"
            assert (row["loaded_bytes"] > 0) == (row["host_tokens"] > 0)
        for row in ours:
            assert row["recomputed_tokens"] <= stock["recomputed_tokens"]
