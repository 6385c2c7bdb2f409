"""Two ranks whose copies end at other times, while requests ride, are retracted and go on."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from rig import PAGE, Rig, key_of

from cachepawl.offload.tickets import Ready
from cachepawl.offload.writing import WRITE_POLICIES

SIZES = {"frames": 12, "host_frames": 30, "free_frames": 4, "headroom_frames": 2}


class Ranks:
    """What is decided follows from what was agreed upon."""

    def __init__(self, seed: int, writing: str) -> None:
        self.rigs = [Rig(writing=writing, **SIZES) for _ in range(2)]
        self.clocks = [Random(f"{seed} {number}") for number in range(2)]
        self.riding: dict[str, tuple[int, int]] = {}
        """Rows and depths."""

    def agreed(self) -> Ready:
        said = [rig.tier.ready() for rig in self.rigs]
        return Ready(*(min(column) for column in zip(*said, strict=True)))

    def poll(self) -> None:
        for rig, clock in zip(self.rigs, self.clocks, strict=True):
            while rig.moving.under_way and clock.random() < 0.5:
                rig.moving.end(clock.randrange(len(rig.moving.under_way)))
        done = self.agreed()
        for rig in self.rigs:
            rig.tier.poll(done)
        self.land()

    def land(self) -> None:
        ended = [rig.tier.rides_ended() for rig in self.rigs]
        assert ended[0] == ended[1]
        for request, row, error, _ in ended[0]:
            assert error is None
            _, depth = self.riding.pop(request)
            for rig in self.rigs:
                rig.cache.release(row, depth, depth + PAGE)
                rig.cache.close_row(row)
                rig.tier.settle(request)

    def ride(self, request: str, text: str) -> None:
        row = 1000 + int(request)
        for rig in self.rigs:
            if not rig.cache.fits(2 * len(text) + PAGE, 2):
                return
            rig.load(request, text + "x")
        tickets = [rig.tier.loads.boardable(request) for rig in self.rigs]
        for rig, ticket in zip(self.rigs, tickets, strict=True):
            if ticket is not None:
                rig.tier.ride(request, row)
                rig.cache.allocate(row, ticket.depth + PAGE)
                self.riding[request] = row, ticket.depth

    def retract(self, request: str, text: str) -> None:
        """As a server does: what is under way is ended, then the rest is copied, then that is."""
        for _ in range(2):
            for rig in self.rigs:
                rig.moving.wait()
            done = self.agreed()
            for rig in self.rigs:
                rig.tier.end_loads(done)
                rig.tier.end_writes(done)
            self.land()
            if not len(self.rigs[0].tier.retracted):
                for rig in self.rigs:
                    rig.tier.back_up(request, rig.cache.tree.peek(key_of(text)).node)

    def check(self) -> None:
        one, other = self.rigs
        for rig in self.rigs:
            rig.check()
        assert one.tier.stats() == other.tier.stats()
        assert one.cache.tree.render() == other.cache.tree.render()
        assert one.host.tree.render() == other.host.tree.render()


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from(list(WRITE_POLICIES)))
def test_ranks_decide_alike(seed: int, writing: str) -> None:
    ranks, dice = Ranks(seed, writing), Random(seed)
    for step in range(40):
        text = "".join(dice.choice("ab") * PAGE for _ in range(dice.randint(1, 4)))
        verb = dice.randrange(5)
        ranks.poll()
        if verb == 0:
            ranks.ride(str(step), text)
        elif verb == 1:
            ranks.retract("r", text)
        elif verb == 2:
            for rig in ranks.rigs:
                rig.tier.goes_on("r", len(text))
                rig.tier.settle("r")
                rig.cache.evict_tokens(5 * PAGE)
        elif all(rig.cache.fits(3 * len(text), 2) for rig in ranks.rigs):
            for rig in ranks.rigs:
                rig.run(text)
        ranks.check()
    for rig in ranks.rigs:
        assert rig.host.counters.duplicate_pages == 0
        assert not rig.failures
