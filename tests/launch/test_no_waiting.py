"""Nothing on the path of a step waits for the device: allocation, frees, decode, states, the tree.

The real allocator, row pools, state pool, prefix cache and mover, over a device without data:
what would read it, or block on it, is an error (`device_guard`).  The requests are ours; what
SGLang's scheduler does with them between these calls is its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from device_guard import DeviceWaitError, NoWaiting
from meta_server import FRAMES, PAGE, Request, Server, device_reads, surroundings, tokens

from cachepawl.evacuation import Admission


@pytest.fixture(params=[True, False], ids=["extra buffer", "single state"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with surroundings(monkeypatch):
        yield Server(extra_buffer=request.param)


def test_no_step_waits(server: Server) -> None:
    prompt = tokens(1, 200)
    with NoWaiting() as guard:
        first = Request("first", prompt)
        server.prefill(first)
        server.decode(first)
        server.finish(first)
        again = Request("again", prompt + tokens(2, 70))
        others = [Request(f"other {i}", tokens(10 + i, 90 + i)) for i in range(3)]
        server.prefill(again, *others)
        for _ in range(2 * PAGE):
            server.decode(again, *others)
        server.finish(others[0], checkpointed=False)
        for req in (again, *others[1:]):
            server.finish(req)
        server.tree.reset()
    assert again.prefix_len > 0, "nothing was restored from the tree"
    assert server.arena.movement.calls["copy_units"] > 0
    assert server.arena.movement.calls["zero_units"] > 0
    assert guard.seen > 50
    assert device_reads(server) == 0


def test_pressure_and_moves_do_not_wait(server: Server) -> None:
    """Evictions, frames that turn from state to KV, and pages that are moved."""
    cache = server.cache
    with NoWaiting():
        for i in range(40):
            req = Request(f"request {i}", tokens(100 + i, 150))
            server.prefill(req)
            server.finish(req)
        survivors = [Request(f"survivor {i}", tokens(500 + i, 6)) for i in range(6)]
        for req in survivors:
            server.prefill(req)
        states = next(n for n in range(FRAMES) if not cache.fits(0, n))
        opened = cache.make_way(0, states)
        server.decode(*survivors)
        server.prefill(Request("large", tokens(900, 1200)))
    assert opened is Admission.OPEN
    assert cache.counters.evicted_states > 0
    assert set(server.arena.movement.calls) >= {"zero_listed", "move_runs"}
    assert device_reads(server) == 0


def test_ids_that_were_copied_are_noticed(server: Server) -> None:
    """The negative control: a slot id that is not the table's own has to be read."""
    ids = server.rows.mamba_allocator.ids
    copied = torch.stack([ids.to_device([3])[0], ids.to_device([4])[0]])
    with NoWaiting(), pytest.raises((DeviceWaitError, NotImplementedError)):
        server.rows.mamba_allocator.free(copied)
    assert device_reads(server) == 1
