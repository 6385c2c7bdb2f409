"""A shortage says how much is missing, where the rest is, and what to do; it changes nothing."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import pytest

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import OutOfPages
from cachepawl.pool.geometry import Geometry
from cachepawl.types import Key

MakeGeometry = Callable[..., Geometry]


@pytest.fixture
def cache(make_geometry: MakeGeometry) -> HybridPrefixCache:
    """Five frames of 4 pages of one token.

    Row 1 has published 3 tokens and a state, which it locks, and computed 2 more.
    """
    cache = HybridPrefixCache(make_geometry(1, 6, 4), states_per_request=1)
    cache.open_row(1, cache.tree.root, 0)
    (slot,) = cache.take_states(1)
    cache.allocate(1, 3)
    done = cache.publish(1, Key(array("q", [1, 2, 3]).tobytes()), 3, slot)
    cache.lock(done.node)
    cache.allocate(1, 5)
    cache.take_states(1)
    return cache


def picture(cache: HybridPrefixCache) -> tuple[object, ...]:
    sizes = {k: v for k, v in cache.stats().items() if not k.endswith("refusals")}
    return sizes, list(cache.refs.pages(1, 0, 99)), cache.tree.render()


def test_pages(cache: HybridPrefixCache) -> None:
    before = picture(cache)
    with pytest.raises(OutOfPages) as shortage:
        cache.allocate(1, 30)
    assert picture(cache) == before
    text = str(shortage.value)
    assert "need 25 pages, 7 available" in text
    assert "3 pages and 1 states locked" in text
    assert "2 pages and 1 states held by 1 requests" in text
    assert "1 frames free" in text
    assert "lower --max-running-requests or give the arena more bytes" in text


def test_state_slots(cache: HybridPrefixCache) -> None:
    before = picture(cache)
    with pytest.raises(OutOfPages, match="need 2 state slots, 1 available; nothing more can"):
        cache.take_states(2)
    assert cache.try_states(2) is None
    assert picture(cache) == before


def test_the_caps_bind(make_geometry: MakeGeometry) -> None:
    cache = HybridPrefixCache(make_geometry(1, 6, 4), states_per_request=1, page_cap=5, state_cap=1)
    cache.open_row(1, cache.tree.root, 0)
    with pytest.raises(OutOfPages, match="need 6 pages, 5 available"):
        cache.allocate(1, 6)
    with pytest.raises(OutOfPages, match="need 2 state slots, 1 available"):
        cache.take_states(2)
    cache.allocate(1, 5)
    assert not cache.fits(1, 0)
    assert cache.obtainable_tokens() == 0
    assert cache.fits(0, 1)
    assert not cache.fits(0, 2)
