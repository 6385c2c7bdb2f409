"""Nothing that a host tier does in a step waits for the device or for a copy, but where it must.

The real steps, tier, transfers and copy engines' orders, over a device without data and links on
which copies arrive when they are told to (`still_link`).  Where a step may wait is what decision
34 lists; of those the wait of a retraction is here, and is caught where it is not allowed.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from device_guard import DeviceWaitError, NoWaiting
from meta_server import FRAMES, GEOMETRY, PAGE, Request, Server, device_reads, surroundings, tokens
from sglang.srt.mem_cache.base_prefix_cache import MatchPrefixParams
from sglang.srt.mem_cache.radix_cache import RadixKey
from still_link import META, Engines, StillLink

from cachepawl.offload.arena_transfers import ArenaTransfers, Lanes, Side
from cachepawl.offload.copier import Copier, TorchCopier
from cachepawl.offload.copiers import Copiers
from cachepawl.offload.dma_copier import DmaCopier
from cachepawl.offload.host_arena import HostArena
from cachepawl.offload.lanes import NOW
from cachepawl.offload.tickets import LOAD, WRITE
from cachepawl.offload.tier import HostTier
from cachepawl.offload.writing import WRITE_POLICIES
from cachepawl_launch.host.layer_waits import LayerWaits
from cachepawl_launch.host.parts import HostParts
from cachepawl_launch.host.steps import HostSteps

LENGTH = 200


class Queued(Request):
    """What the host tier reads of a request besides."""

    positional_embed_overrides = None
    discard_output_reason: Any = None
    skip_radix_cache_insert = False

    def __init__(self, rid: str, prompt: list[int]) -> None:
        super().__init__(rid, prompt)
        self.origin_input_ids: Any = array("q", prompt)
        self.output_ids: Any = array("q")

    def _compute_max_prefix_len(self, length: int) -> int:
        return length - 1

    def refresh_fill_ids(self) -> None:
        pass

    def owned_kv_len(self) -> int:
        return int(self.kv.kv_allocated_len)

    @property
    def extend_end(self) -> int:
        return len(self.origin_input_ids) + len(self.output_ids)


class TwoTiers(Server):
    """A server with a host tier, and the scheduler that its steps are told of."""

    def __init__(
        self,
        writing: str = "write_through",
        *,
        rides: bool = False,
        copier: Copier | None = None,
        steps: type[HostSteps] = HostSteps,
    ) -> None:
        super().__init__(extra_buffer=True)
        self.engines, self.out, self.back = Engines(), StillLink(), StillLink()
        copier = copier or DmaCopier(META, self.engines)
        host = HostArena(GEOMETRY, 4 * FRAMES * GEOMETRY.frame_bytes, pinned=False)
        copies = ArenaTransfers(
            Side(self.arena.raw, GEOMETRY),
            Side(host.raw, host.geometry),
            Copiers(copier, copier, copier),
            Lanes(self.out, self.back, lambda: NOW),
            group_bytes=1 if rides else 1 << 60,
        )
        self.tier = HostTier(self.cache, host.geometry, copies, WRITE_POLICIES[writing]())
        self.tier.loads.before_start = self.clear
        self.waits = LayerWaits(copies, {1: 0, 3: 1}, 4, blind=False) if rides else None
        parts = HostParts(host, copies, copies)
        self.steps = self.tree.host = steps(
            self.tier, parts, self.tree, lambda ready: ready, self.waits
        )
        self.running: list[Queued] = []
        self.queue: list[Queued] = []

    # -- SGLang's loop ------------------------------------------------------------------

    def step(self) -> list[Queued]:
        """One step; who was admitted.  All that run decode a token."""
        batch = SimpleNamespace(
            reqs=self.running, is_empty=lambda: not self.running, batch_is_full=False
        )
        scheduler = SimpleNamespace(
            running_batch=batch, last_batch=None, waiting_queue=list(self.queue), chunked_req=None
        )
        self.steps.poll(scheduler)
        admitted: list[Queued] = []

        def fill(scheduler: Any, _: Any) -> Any:
            queue = scheduler.waiting_queue
            admitted.extend(req for req in queue if self.cache.fits(req.extend_end + PAGE, 4))
            scheduler.waiting_queue = [r for r in scheduler.waiting_queue if r not in admitted]
            if not admitted:
                return SimpleNamespace(batch_to_run=None)
            self.admit(*admitted)
            return SimpleNamespace(batch_to_run=SimpleNamespace(reqs=admitted, decoding_reqs=[]))

        self.steps.fill_batch(fill, scheduler, batch)
        if admitted:
            self.compute(*admitted)
        elif self.running:
            self.decode(*self.running)
        self.queue = [req for req in self.queue if req not in admitted]
        self.running += admitted
        return admitted

    def admit(self, *requests: Queued) -> None:
        for req in requests:
            key = RadixKey((req.origin_input_ids + req.output_ids)[:-1])
            found = self.tree.match_prefix(MatchPrefixParams(key=key, req=req))
            req.last_node = found.last_device_node
            req.prefix_len = found.device_prefix_len
            req.kv.cache_protected_len = found.cache_protected_len
            req.lock = self.tree.lock(req.last_node)
        assert self.rows.alloc(list(requests)) is not None
        count = sum(req.extend_end - req.prefix_len for req in requests)
        ids = self.allocator.alloc_extend(None, None, None, None, None, count)
        assert ids is not None
        self.write(requests, ids)

    def compute(self, *requests: Queued) -> None:
        """The forward, layer by layer, and what comes of it."""
        self.forward(requests)
        for layer in range(self.waits.num_layers if self.waits else 0):
            assert self.waits is not None
            self.waits.wait_until(layer)
        for req in requests:
            req.kv.kv_allocated_len = req.kv.kv_committed_len = req.extend_end
            self.snapshot(req, req.extend_end)

    def results(self, *requests: Queued) -> None:
        self.steps.before_results(SimpleNamespace(reqs=requests))
        for req in requests:
            self.tree.checkpoint(req, up_to=req.extend_end)

    def end(self, req: Queued) -> None:
        self.running.remove(req)
        self.finish(req)
        self.steps.settle(req.rid)

    def serve(self, *requests: Queued) -> None:
        """Until all have run; copies arrive meanwhile, later than the steps ask."""
        self.queue += requests
        for _ in range(20):
            for req in self.step():
                self.results(req)
                self.end(req)
            self.arrive()
            if not self.queue:
                break
        assert not self.queue

    def arrive(self) -> None:
        self.out.arrive()
        self.back.arrive()

    def run(self, req: Queued) -> None:
        """And three steps, in which its copy is begun and does not arrive."""
        self.serve(req)
        for _ in range(3):
            self.step()

    def settle(self) -> None:
        """Nothing is wanted any more or under way."""
        for _ in range(50):
            self.step()
            self.arrive()

    def push_out(self) -> None:
        """Others take the device's room."""
        for i in range(40):
            self.serve(request(f"other {i}", 1000 + i))

    def comes_again(self) -> Queued:
        """A request whose prompt was served, written and pushed out of the device; it waits."""
        self.serve(request("first", 1))
        self.settle()
        self.push_out()
        again = request("again", 1)
        self.queue.append(again)
        return again


def request(name: str, seed: int, length: int = LENGTH) -> Queued:
    return Queued(name, tokens(seed, length))


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with surroundings(monkeypatch):
        yield


@pytest.mark.usefixtures("around")
@pytest.mark.parametrize("writing", WRITE_POLICIES)
def test_no_step_with_a_host_tier_waits(writing: str) -> None:
    """Written, evicted, matched over both tiers, loaded while others decode, used, given up."""
    live = TwoTiers(writing)
    with NoWaiting() as guard:
        for _ in range(2):  # `write_through_selective` writes what is used again
            live.serve(request("first", 1))
        live.settle()
        live.push_out()
        assert live.cache.tree.peek(live.tree.awaited(request("again", 1))[0]).usable_len == 0
        other = request("other", 2)
        live.queue.append(other)
        live.results(*live.step())
        asked = live.back.asked
        again, gone = request("again", 1), request("gone", 1)
        live.queue += [again, gone]
        for _ in range(5):
            assert live.step() == []
        assert live.tier.waits("again")
        assert live.tier.waits("gone")
        live.queue.remove(gone)
        live.steps.settle("gone")
        live.arrive()
        assert live.step() == [again]
        live.results(again)
        for req in (again, other):
            live.end(req)
    stats = live.steps.stats()
    assert again.prefix_len > 0
    assert stats["host_hit_tokens"] == again.prefix_len
    assert live.back.asked >= asked + 5, "nobody asked whether the load had arrived"
    assert min(stats["host_writes"], stats["host_loads"], live.engines.moved) > 0
    assert stats["host_step_waits"] == live.out.waited == live.back.waited == 0
    assert guard.seen > 50
    assert device_reads(live) == 0


@pytest.mark.usefixtures("around")
def test_pages_move_beside_a_write_back_and_nobody_waits() -> None:
    """What is being copied stays where it is; the rest is packed around it."""
    live = TwoTiers()
    with NoWaiting():
        live.push_out()
        for i in range(6):
            live.queue.append(request(f"survivor {i}", 500 + i, 6))
            live.results(*live.step())
        live.run(request("written", 3))
        (ticket,) = live.tier.tickets.under_way[WRITE]
        before = list(ticket.copy.pages_from)
        states = next(n for n in range(FRAMES) if not live.cache.fits(0, n))
        live.cache.make_way(0, states)
        live.step()
    assert list(live.tier.device.tree.path_pages(ticket.source.node))[-len(before) :] == before
    assert live.cache.counters.evacuated_pages > 0
    assert set(live.arena.movement.calls) >= {"move_runs"}
    assert live.out.waited == 0


@pytest.mark.usefixtures("around")
def test_a_forward_that_rides_makes_streams_wait_and_not_the_host() -> None:
    live = TwoTiers(rides=True)
    with NoWaiting():
        again = live.comes_again()
        assert live.step() == [again]
        assert live.tier.tickets.under_way[LOAD]
        assert live.back.held >= 2, "no layer waited"
        live.back.arrive()  # the forward has read them
        live.results(again)
        live.end(again)
    assert live.tier.counters.rides == 1
    assert live.back.waited == live.out.waited == 0


@pytest.mark.usefixtures("around")
def test_results_that_are_looked_at_before_their_load_are_noticed() -> None:
    live = TwoTiers(rides=True)
    with NoWaiting():
        again = live.comes_again()
        live.step()
        with pytest.raises(DeviceWaitError, match="waits for a copy"):
            live.results(again)


@pytest.mark.usefixtures("around")
@pytest.mark.parametrize("allowed", [True, False])
def test_a_retraction_waits_for_its_copy_and_for_nothing_else(allowed: bool) -> None:
    """Row two of the table: one wait, of the writes' link; it is caught where it may not be."""
    live = TwoTiers()
    live.out.may_wait = allowed
    req = request("r", 4, 70)
    with NoWaiting():
        live.queue.append(req)
        live.results(*live.step())
        if not allowed:
            with pytest.raises(DeviceWaitError, match="waits for a copy"):
                live.steps.retract(req)
            return
        live.steps.retract(req)
    assert live.tier.retracted.is_safe("r")
    assert live.steps.stats()["host_step_waits"] == live.out.waited == 1
    assert live.back.waited == 0


class Waits(HostSteps):
    """Each poll waits for the copies under way."""

    def poll(self, scheduler: Any) -> None:
        self.parts.copies.wait()
        super().poll(scheduler)


class Reads(HostSteps):
    """Looks into what was loaded."""

    def fill_batch(self, original: Any, scheduler: Any, running_batch: Any) -> Any:
        self.loader._cache.req_to_token_pool.req_to_token[0, 0].item()
        return super().fill_batch(original, scheduler, running_batch)


@pytest.mark.usefixtures("around")
@pytest.mark.parametrize("steps", [Waits, Reads])
def test_steps_that_wait_are_noticed(steps: type[HostSteps]) -> None:
    live = TwoTiers(steps=steps)
    with NoWaiting(), pytest.raises((DeviceWaitError, RuntimeError)):
        live.run(request("r", 1))


@pytest.mark.usefixtures("around")
def test_a_copier_that_blocks_is_noticed() -> None:
    live = TwoTiers(copier=TorchCopier())
    with NoWaiting(), pytest.raises(DeviceWaitError, match="from the device to the host"):
        live.run(request("r", 1))
