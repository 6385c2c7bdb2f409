"""What SGLang's pools ask before a layer's KV or states are read: its `LayerDoneCounter`."""

from __future__ import annotations

from typing import Any

from cachepawl.offload.arena_transfers import ArenaTransfers


class LayerWaits:
    """For the forward that is armed.  Layers are the model's."""

    def __init__(
        self, copies: ArenaTransfers, attention: dict[int, int], num_layers: int, *, blind: bool
    ) -> None:
        """`attention`: the arena's attention layer of a model's.

        `blind`: a negative control, it waits for nothing.
        """
        self._copies = copies
        self._attention = attention
        self._blind = blind
        self.num_layers = num_layers
        self.consumer_index = -1
        """SGLang's word: below 0 there is nothing to wait for."""

    def arm(self, rides: bool) -> None:
        """Whether the next forward reads what is being loaded."""
        self.consumer_index = 0 if rides else -1

    def set_consumer(self, index: int) -> None:
        """SGLang's own host cache says here what a batch reads; `arm` does."""

    def wait_until(self, layer: int) -> None:
        """What is launched from here on reads that layer, and those before it."""
        if self.consumer_index < 0 or self._blind:
            return
        self._copies.wait_states()
        if layer == self.num_layers - 1:  # a whole graph asks for the last one alone
            self._copies.wait_layer(len(self._attention) - 1)
        elif layer in self._attention:
            self._copies.wait_layer(self._attention[layer])


def register(kv_pool: Any, rows: Any, copies: ArenaTransfers, *, blind: bool) -> LayerWaits:
    """Between the pools of a scheduler and its loads."""
    mapping = getattr(kv_pool, "full_attention_layer_id_mapping", None)
    attention = dict(mapping) if mapping else {n: n for n in range(kv_pool.layer_num)}
    states = getattr(rows, "mamba_map", None) or {}
    waits = LayerWaits(copies, attention, 1 + max([*attention, *states]), blind=blind)
    kv_pool.register_layer_transfer_counter(waits)
    if states:
        rows.register_layer_transfer_counter(waits)
    return waits
