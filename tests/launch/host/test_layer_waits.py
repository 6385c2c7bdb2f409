"""What SGLang's pools ask before a layer is read, over real copies that run when they must."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiers import ManualLane, Tiers, copy_of, manual_lanes, tiers

from cachepawl.offload.transfers import Direction, Order
from cachepawl_launch.host.layer_waits import LayerWaits, register

ATTENTION = {1: 0, 4: 1, 5: 2}
"""Of a model of seven layers, the others with states."""
STATES = {0: 0, 2: 1, 3: 2, 6: 3}


class Pool(SimpleNamespace):
    counter: Any = None

    def register_layer_transfer_counter(self, counter: Any) -> None:
        self.counter = counter


def loading(*, blind: bool = False) -> tuple[LayerWaits, ManualLane, Tiers]:
    """A load of two pages and a state, in a step for the states and one for each layer."""
    _, lane, lanes = manual_lanes()
    both = tiers(lanes=lanes)
    kv, rows = Pool(full_attention_layer_id_mapping=ATTENTION), Pool(mamba_map=STATES)
    waits = register(kv, rows, both.transfers, blind=blind)
    assert kv.counter is rows.counter is waits
    both.transfers.start(Order(1, Direction.LOAD_BACK, copy_of([2, 3], [4, 5], [6], [3])))
    both.transfers.begin_loads()
    assert len(lane.steps) == 1 + len(ATTENTION)
    return waits, lane, both


def test_a_layer_waits_for_itself_and_those_before() -> None:
    waits, lane, _ = loading()
    waits.arm(True)
    left = []
    for layer in range(6):
        waits.wait_until(layer)
        left.append(len(lane.steps))
    # The state comes first, for all layers; then each attention layer as it is read.
    assert left == [3, 2, 2, 2, 1, 0]


def test_a_graph_asks_for_the_last_layer_alone() -> None:
    waits, lane, both = loading()
    waits.arm(True)
    waits.wait_until(waits.num_layers - 1)
    assert not lane.steps
    page = both.device.geometry.page_bytes
    assert torch.equal(both.device.raw[4 * page : 6 * page], both.host.raw[2 * page : 4 * page])


@pytest.mark.parametrize("blind", [False, True])
def test_others_wait_for_nothing(blind: bool) -> None:
    waits, lane, both = loading(blind=blind)
    waits.arm(blind)
    assert waits.consumer_index == (0 if blind else -1)
    for layer in range(waits.num_layers):
        waits.wait_until(layer)
    assert len(lane.steps) == 4
    both.transfers.wait_loads()
    assert not lane.steps


def test_a_model_without_states() -> None:
    _, _, lanes = manual_lanes()
    kv = Pool(layer_num=3)
    waits = register(kv, Pool(), tiers(lanes=lanes).transfers, blind=False)
    assert waits.num_layers == 3
    assert kv.counter is waits
