"""A router that follows the real server's KV events foretells its hits."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import zmq
from harness import tokens
from observed import CELL, Observed


class Router:
    """Subscribes to a server, and knows what it has cached."""

    def __init__(self, port: int) -> None:
        self.socket = zmq.Context.instance().socket(zmq.SUB)
        self.socket.connect(f"tcp://127.0.0.1:{port}")
        self.socket.subscribe("")
        self.held: dict[str, set[int]] = {"GPU": set(), "GPU:state": set()}
        self.names: dict[tuple[int | None, tuple[int, ...]], int] = {}
        self.types: list[str] = []

    def listen(self, seconds: float = 2.0) -> None:
        """Take in everything until nothing has come for a while."""
        while self.socket.poll(int(seconds * 1000)):
            payload = self.socket.recv_multipart()[-1]
            for event in msgspec.msgpack.decode(payload)[1]:
                self.apply(event)

    def apply(self, event: dict[str, Any]) -> None:
        self.types.append(event["type"])
        if event["type"] == "AllBlocksCleared":
            for blocks in self.held.values():
                blocks.clear()
            return
        blocks = self.held[event["medium"]]
        if event["type"] == "BlockRemoved":
            assert blocks.issuperset(event["block_hashes"])
            blocks.difference_update(event["block_hashes"])
            return
        assert event["block_size"] == CELL.page
        assert not blocks.intersection(event["block_hashes"])
        blocks.update(event["block_hashes"])
        parent = event["parent_block_hash"]
        for i, name in enumerate(event["block_hashes"]):
            page = tuple(event["token_ids"][i * CELL.page : (i + 1) * CELL.page])
            self.names[parent, page] = name
            parent = name

    def foretell(self, ids: list[int]) -> int:
        """The deepest depth, before the last token, with all KV and a state."""
        usable, name = 0, None
        for start in range(0, len(ids) - CELL.page, CELL.page):
            name = self.names.get((name, tuple(ids[start : start + CELL.page])))
            if name is None or name not in self.held["GPU"]:
                break
            if name in self.held["GPU:state"]:
                usable = start + CELL.page
        return usable


@pytest.mark.xdist_group("observed")
def test_a_router_foretells_hits(observed: Observed) -> None:
    client = observed.server.client
    client.flush()
    router = Router(observed.events)
    client.generate(tokens(97, 40))  # while it connects; what it has missed is cleared:
    client.flush()
    client.generate(tokens(99, 40))  # SGLang publishes with the next batch
    router.listen()
    assert "AllBlocksCleared" in router.types
    router.types.clear()

    prompts = [tokens(5, 100) + tokens(10 + i, 120) for i in range(3)]
    hits = []
    for prompt in [*prompts, *prompts, prompts[0] + tokens(6, 60)]:
        router.listen()
        foretold = router.foretell(prompt)
        answer = client.generate(prompt)
        assert answer.cached == foretold
        hits.append(foretold)
    assert hits[:2] == [0, 0]  # the second finds KV without a state, and its router knows
    assert hits[2] == CELL.forks(100, 220)[3]
    assert min(hits[3:]) == CELL.repeat(220)
    for i in range(10):  # more than the arena holds
        client.generate(tokens(300 + i, 700))
    router.listen()
    assert "BlockRemoved" in router.types
    assert "AllBlocksCleared" not in router.types
    client.flush()
    client.generate(tokens(98, 40))
    router.listen()
    assert "AllBlocksCleared" in router.types
    assert router.foretell(prompts[0]) == 0
