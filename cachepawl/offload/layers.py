"""Loading layer by layer: which bytes of a token go together, and when that pays.  No torch.

    entry   | K0 V0 | K1 V1 | K2 V2 | K3 V3 | pad |        one token
    groups  |      0        |      1              |        of two layers: one row a token each

A page holds all layers of its tokens.  Whole, its bytes are one extent, which a copy engine
moves at the speed of the link; but then layer 0 can be used only when all of it has come.  In
groups of layers, each a strided copy of one row a token, the forward starts when the first
group is there, and the rest arrives behind its layers; such rows are short, and a kernel that
reads host memory reaches about 64 % of the link (measured on PCIe 5 with other engines; see
`python -m benchmarks.gpu.run --only host` for this machine's).
"""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.pool.geometry import KvShape

GROUP_BYTES = 8 << 20
"""Least bytes of a group.

A group costs the host one launch, 75 to 150 us with its table.  8 MiB take the link 150 us to
240 us, so the host stays ahead of it; below twice this, a load is copied whole: that takes no
longer than one launch more would.
"""

WHOLE_PAGES = 1 << 62
"""As `group_bytes`: no load is cut.  For a server whose requests wait until they are loaded."""


class LayerGroup(NamedTuple):
    """Attention layers `[first, last]`: bytes `[base, base + row_bytes)` of each entry."""

    first: int
    last: int
    base: int
    row_bytes: int


def group_count(load_bytes: int, layers: int, group_bytes: int = GROUP_BYTES) -> int:
    """Groups that a load of so many bytes of KV is cut into; 1 means whole pages."""
    return max(1, min(layers, load_bytes // group_bytes))


def layer_groups(kv: KvShape, count: int) -> list[LayerGroup]:
    """The layers in `count` groups of nearly equal size, the larger ones last.

    The first group is what the forward waits for without anything to hide behind, so it is
    never the larger.  Together the groups are whole entries, padding included.
    """
    if not 1 <= count <= kv.layers:
        raise ValueError(f"{count} groups of {kv.layers} layers")
    bounds = [number * kv.layers // count for number in range(count + 1)]
    ends = [*(kv.k_offset(layer) for layer in bounds[:-1]), kv.entry_bytes]
    return [
        LayerGroup(bounds[n], bounds[n + 1] - 1, ends[n], ends[n + 1] - ends[n])
        for n in range(count)
    ]
