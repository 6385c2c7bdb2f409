"""Groups of layers: together they are the entry, and a load is cut where that pays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachepawl.offload.layers import GROUP_BYTES, group_count, layer_groups
from cachepawl.pool.geometry import KvShape


@given(data=st.data(), layers=st.integers(1, 20))
def test_groups_tile_the_entry(data: st.DataObject, layers: int) -> None:
    kv = KvShape(layers, heads=1, head_dim=8, v_head_dim=16, itemsize=2)
    count = data.draw(st.integers(1, layers))
    groups = layer_groups(kv, count)
    assert len(groups) == count
    assert [layer for g in groups for layer in range(g.first, g.last + 1)] == list(range(layers))
    assert groups[0].base == 0
    ends = [g.base + g.row_bytes for g in groups]
    assert ends == [*(g.base for g in groups[1:]), kv.entry_bytes]
    for g in groups:
        assert g.base == kv.k_offset(g.first)
        assert kv.v_offset(g.last) + kv.v_row <= g.base + g.row_bytes
    sizes = [g.last - g.first + 1 for g in groups]
    assert max(sizes) - min(sizes) <= 1
    assert sizes[0] == min(sizes)


@pytest.mark.parametrize("count", [0, 4])
def test_wrong_counts(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} groups of 3 layers"):
        layer_groups(KvShape(3, 1, 8, 8, 2), count)


def test_small_loads_are_whole() -> None:
    assert group_count(0, 12) == 1
    assert group_count(2 * GROUP_BYTES - 1, 12) == 1
    assert group_count(2 * GROUP_BYTES, 12) == 2
    assert group_count(1000 * GROUP_BYTES, 12) == 12
