"""A host that has a few prompts, a device that has forgotten them, and requests for them."""

from __future__ import annotations

from array import array
from types import SimpleNamespace
from typing import Any

from cachepawl.cache import HybridPrefixCache
from cachepawl.offload.tier import HostTier
from cachepawl.offload.transfers import Order, Outcome
from cachepawl.offload.writing import WRITE_POLICIES
from cachepawl.pool.geometry import Geometry, KvShape
from cachepawl.types import Key
from cachepawl_launch.host.loading import Loader

PAGE, LENGTH = 4, 32
SHAPES = Geometry(KvShape(1, 1, 8, 8, 2), None, PAGE, frame_pages=1)
FRAME = SHAPES.frame_bytes


class Ordered:
    """Transfers that end when they are told to."""

    def __init__(self) -> None:
        self.asked: list[Order] = []

    def start(self, order: Order) -> None:
        self.asked.append(order)

    def finished(self) -> list[Outcome]:
        """Nothing ends by itself."""
        return []

    def wait(self) -> None:
        """Nobody waits here."""


class AtOnce(Ordered):
    """Transfers that have ended when somebody asks."""

    def finished(self) -> list[Outcome]:
        ended, self.asked = self.asked, []
        return [Outcome(order.ticket, None) for order in ended]


def request(name: str) -> Any:
    tokens = array("q", [ord(name)] * LENGTH)
    return SimpleNamespace(rid=name, origin_input_ids=tokens, output_ids=array("q"), prefix_len=0)


def key_of(req: Any) -> tuple[Key, int]:
    return Key(req.origin_input_ids.tobytes()), LENGTH - 1


class Rig:
    """A host that has the prompts of `a` to `d`, and a device that has forgotten them."""

    def __init__(self, pages: int) -> None:
        self.cache = HybridPrefixCache(
            SHAPES.with_budget((pages + 1) * FRAME), states_per_request=0
        )
        self.moving: Ordered = AtOnce()
        self.tier = HostTier(
            self.cache,
            SHAPES.with_budget(100 * FRAME),
            self.moving,
            WRITE_POLICIES["write_through"](),
        )
        self.loader = Loader(self.tier, SimpleNamespace(awaited=key_of))  # type: ignore[arg-type]
        for row, name in enumerate("abcd"):
            self.publish(row, name)
            for _ in range(3):
                self.tier.poll()
        self.cache.evict_tokens(10**6)
        self.moving = self.tier.tickets.transfers = Ordered()

    def publish(self, row: int, name: str) -> None:
        """A request was computed, and is gone."""
        cache, key = self.cache, key_of(request(name))[0]
        receipt = cache.lock(cache.tree.root)
        cache.open_row(row, cache.tree.root, 0)
        cache.allocate(row, LENGTH)
        done = cache.publish(row, key, LENGTH, None)
        cache.unlock(receipt)
        cache.close_row(row)
        self.tier.published(done)

    def start(self, names: str, running: int = 0) -> int:
        """How many of a queue may be admitted."""
        return self.loader.start([request(name) for name in names], running)

    def waiting(self, names: str, running: int = 0) -> str:
        """Who waits for a load after a pass over the queue."""
        self.loader.start([request(name) for name in names], running)
        return "".join(name for name in names if self.tier.waits(name))
