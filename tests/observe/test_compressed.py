"""A map of a cache of compressed states."""

from __future__ import annotations

import pytest
from compressed_load import make_compressed, serve

from cachepawl.observe.frame_map import draw_frames
from cachepawl.observe.snapshot import snapshot
from cachepawl.offline.map.picture import parse_picture


@pytest.mark.parametrize("requests", [1, 7, 60])
def test_it_adds_up(requests: int) -> None:
    cache = make_compressed()
    serve(cache, requests)
    node = next(n for n in cache.tree.walk() if n.state is not None)
    lock = cache.lock(node)
    loose = cache.try_checkpoint()
    slots = cache.take_states(1)
    drawn = snapshot(cache)
    parse_picture(drawn, "here")  # checks that the tree's bytes are those of the frames
    g, stats, by_kind = cache.geometry, cache.stats(), drawn["bytes"]
    assert sum(by_kind.values()) == g.total_bytes
    assert by_kind["states_locked"] == g.kept_bytes
    assert by_kind["states_evictable"] == (stats["checkpoints"] - 2) * g.kept_bytes
    assert by_kind["states_requests"] == g.kept_bytes + g.state_bytes
    frames = stats["frames_checkpoint"]
    unused = frames * g.frame_bytes - stats["checkpoints"] * g.kept_bytes
    assert by_kind["padding"] == unused + g.frame_bytes - g.state_bytes
    text = draw_frames(cache.frames, 512)
    assert text.splitlines()[0].count("C") == frames
    assert text.splitlines()[0].count("S") == 1
    assert loose is not None
    cache.drop_checkpoint(loose)
    cache.free_states(slots)
    cache.unlock(lock)
