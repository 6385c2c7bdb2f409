"""SGLang's own host cache on this platform: what left the device comes back, and is the same.

A stock server through `cachepawl_launch.cpu.hicache_server`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import TOLERANCE, VOCABULARY, Client, Server, command, free_port, launched, tokens

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
    """SGLang's own entry on the same platform: its host pools want a driver."""
    with (
        pytest.raises(AssertionError, match="Found no NVIDIA driver"),
        stock("nemotron_h", tmp_path, entry="sglang.launch_server"),
    ):
        pass
