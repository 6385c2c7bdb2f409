"""Which tensors a real server's requests make our code read: those on the host, by name.

On the CPU a device tensor reads like any other, so every read of ours is written down by the
function that makes it (`watch/sitecustomize.py`).  What remains is looked at here, once.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cells import ARENA_GB, LIMITS
from conftest import EAGER
from harness import Client, hopefully, running, tokens

WATCH = Path(__file__).parent / "watch"
HOST_ONLY = {
    # batch.req_pool_indices_cpu and batch.seq_lens_cpu, SGLang's own host mirrors.
    "cachepawl_launch.assembly.before_decode numpy",
}
CHECKS = "cachepawl_launch.adapter._check_row cpu"
"""What level 2 reads, as it says."""


def serve(client: Client) -> None:
    """Hits, forks, chunks, retraction, evictions, flush."""
    for ids in (tokens(1, 300), tokens(1, 300), tokens(1, 300) + tokens(2, 70)):
        client.generate(ids)
    jobs = [(tokens(50, 90) + tokens(60 + i, 40 + 31 * i), 40) for i in range(30)]
    client.generate_at_once(jobs, hopefully)
    stats = client.wait_idle()
    assert stats["evicted_states"] > 0
    assert stats["hit_tokens"] > 0
    client.flush()


@pytest.mark.stress
@pytest.mark.parametrize("level", [0, 2])
def test_only_host_tensors_are_read(level: int, tmp_path: Path) -> None:
    log = tmp_path / "reads"
    path = os.pathsep.join([str(WATCH), os.environ.get("PYTHONPATH", "")])
    more = [*EAGER, "--cachepawl-device-gb", ARENA_GB, "--cachepawl-check-level", str(level)]
    env = {"CACHEPAWL_READS": str(log), "PYTHONPATH": path}
    with running("nemotron_h", 16, tmp_path, limits=LIMITS, more=more, env=env) as server:
        serve(server.client)
        assert server.client.pawl()["device_reads"] == 0
    found = set(log.read_text().splitlines())
    if level == 0:
        assert found == HOST_ONLY
    else:
        assert found > HOST_ONLY
        assert CHECKS in found, "the watch sees nothing"
