"""Both tiers under a server in miniature, with transfers that end late, wrongly or not at all.

What every page and slot of either arena was computed from is remembered and compared after
every step, so a wrong range, a byte used too early or freed too soon shows at once.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from random import Random
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from moving import Moving, Simple
from operations import facts

from cachepawl.cache import HybridPrefixCache, Published
from cachepawl.errors import ArgumentError, LockError
from cachepawl.evacuation import Admission
from cachepawl.offload.checks import violations
from cachepawl.offload.load_backs import Load
from cachepawl.offload.matching import TierMatch
from cachepawl.offload.options import TierOptions
from cachepawl.offload.tickets import LOAD, WRITE, Ready
from cachepawl.offload.tier import DROPPED, HostTier
from cachepawl.offload.writing import WRITE_POLICIES
from cachepawl.tree import Node
from cachepawl.types import Key

STRETCH = 25
CHORES = (
    ("admit", 6), ("decode", 3), ("checkpoint", 4), ("finish", 6), ("evict", 2), ("poll", 8),
    ("load", 6), ("come_in", 4), ("stop", 1.5), ("go_on", 2), ("break_down", 0.6),
    ("ride", 6), ("host_evict", 1), ("flush", 0.1),
)  # fmt: skip
"""What is done, and how often."""
NEEDS = {
    "decode": "running", "checkpoint": "running", "finish": "running", "stop": "running",
    "come_in": "waiting", "ride": "waiting", "go_on": "stopped", "poll": "tickets",
}  # fmt: skip
"""What there has to be some of for a chore to change anything."""


class Telling(HybridPrefixCache):
    """A device cache whose server tells the tier what it does."""

    tier: HostTier | None = None
    latest: Published

    def open_row(self, row: int, node: Node, tokens: int) -> None:
        super().open_row(row, node, tokens)
        if self.tier is not None and row >= 0:
            self.tier.used(node)

    def publish(self, row: int, *rest: Any) -> Published:
        done = super().publish(row, *rest)
        if self.tier is not None and row >= 0:
            self.tier.published(done)
            self.latest = done
        return done


Made = tuple[Telling, HybridPrefixCache, Callable[[HostTier], HostTier]]
"""What a server drives, what its tier works on, and what its tier is then made to be."""


def tiered(base: type, writing: str, tier_type: type[HostTier] = HostTier) -> type:
    """The server in miniature with a host tier."""

    class Tiered(base):  # type: ignore[misc]
        chores = CHORES

        def make_cache(self, geometry: Any, **options: Any) -> Made:
            cache = Telling(geometry, **options)
            return cache, cache, lambda tier: tier

        def cache_type(self, geometry: Any, **options: Any) -> HybridPrefixCache:
            cache, device, wrapped = self.make_cache(geometry, **options)
            sizes = {name: value for name, value in options.items() if name != "policy"}
            dice = Random(f"{geometry.num_frames} {geometry.pages_per_frame} {sizes}")
            self.there = Simple()
            self.moving = Moving(lambda: self.memory, self.there, geometry.page_tokens)
            frames = dice.choice([2, 3, 5, 8, 12, 20])
            tier = tier_type(
                device,
                geometry.with_budget(frames * geometry.frame_bytes),
                self.moving,
                WRITE_POLICIES[writing](),
                options=TierOptions(
                    write_bytes=dice.choice([1, 3, 100]) * geometry.frame_bytes,
                    write_bytes_beside_loads=dice.choice([0, 2]) * geometry.frame_bytes,
                    headroom_frames=dice.choice([0, 0, 1, 2]),
                    free_frames=dice.choice([1, 3]),
                ),
            )
            self.tier = cache.tier = wrapped(tier)
            self.tier.host.frames.on_release = self.forget_there
            self.tier.loads.before_start = self.clear_turned
            self.tier.on_failure = self.note_failure
            self.failures: list[str] = []
            self.did: Counter[str] = Counter()
            """What the server did, by verb; what the tiers count themselves is in `facts`."""
            self.waiting: dict[str, Any] = {}
            self.stopped: dict[str, Any] = {}
            self.comes_back: dict[str, Any] = {}
            """Retracted ones that are loaded again, and where each has to go on."""
            self.names = 0
            self.riding: dict[int, str] = {}
            self.ticket_of: dict[str, int] = {}
            """Of those that ride."""
            self.rode = 0
            self.patient = dice.choice([True, True, False])
            return cache

        # The bytes

        def forget_there(self, frame: int) -> None:
            full = self.tier.host.frames.pages_per_frame
            pages = range(frame * full, (frame + 1) * full)
            for page, offset in [at for at in self.there.kv if at[0] in pages]:
                del self.there.kv[page, offset]
            self.there.states.pop(frame, None)

        def clear_turned(self) -> None:
            """What is cleared before KV is first written to a frame."""
            full = self.cache.frames.pages_per_frame
            for frame in self.cache.frames.turned_to_kv:
                self.memory.forget(range(frame * full, (frame + 1) * full))
            self.cache.frames.turned_to_kv.clear()

        def compute(self, request: Any, stop: int) -> None:
            self.clear_turned()
            super().compute(request, stop)
            self.did["compute"] += 1
            self.cache.frames.turned_to_kv.clear()

        def note_failure(self, reason: str) -> None:
            self.failures.append(reason)
            what = "write" if self.moving.direction_in(reason) is WRITE else "load"
            self.did[f"failed {what}"] += 1

        # What is counted of the base's verbs

        def matched(self, text: Any) -> Any:
            request = super().matched(text)
            self.did["match"] += 1
            self.did["lock"] += request.receipt.node.parent is not None
            return request

        def publish(self, *rest: Any, **options: Any) -> bool:
            before = self.cache.refs.tree_pages
            taken = super().publish(*rest, **options)
            self.did["insert"] += taken or self.cache.refs.tree_pages > before
            return bool(taken)

        # Chores of the tier

        @rule(seed=st.integers(0, 2**32))
        def work(self, seed: int) -> None:
            """A longer stretch of all that a server does: rare meetings of rare things."""
            dice = Random(seed)
            for _ in range(STRETCH):
                which = dice.randrange(10**6)
                letters = [dice.randrange(2) for _ in range(dice.randint(1, 4))]
                before = self.acts()
                chore = self.drawn(dice)
                if chore in ("admit", "decode", "checkpoint", "finish"):
                    self.serve([(chore, which, letters, dice.randrange(4))])
                else:
                    getattr(self, chore)(which, letters)
                    self.all_is_well() if self.acts() > before else self.tier.check(1)
                self.did["operations"] += self.acts() > before

        def drawn(self, dice: Random) -> str:
            """A chore for which there is what it needs."""
            can = [c for c in self.chores if c[0] not in NEEDS or getattr(self, NEEDS[c[0]])]
            names, weights = zip(*can, strict=True)
            return str(dice.choices(names, weights)[0])

        @property
        def tickets(self) -> int:
            """Transfers under way, or wanted."""
            return (
                len(self.tier.tickets) + len(self.tier.writes) + self.tier.writing.before_eviction
            )

        def acts(self) -> int:
            """Rises with whatever is done."""
            return self.did.total() - self.did["operations"] + facts(self).total()

        def evict(self, which: int, letters: list[int]) -> None:
            self.evict_tokens(which % 20)

        def host_evict(self, which: int, letters: list[int]) -> None:
            """Somebody wants room on the host; what is pinned there stays."""
            host, count = self.tier.host, which // 2 % 20
            room = host.tree.full_evictable if which % 2 else host.tree.state_evictable
            gone = host.evict_tokens(count) if which % 2 else host.evict_states(count % 4)
            assert min(count if which % 2 else count % 4, room) <= gone <= room
            self.did["host evict"] += gone > 0

        def flush(self, which: int, letters: list[int]) -> None:
            """Refused while anything runs or is held; so first, mostly, all of that goes."""
            if self.running:
                with self.refused(LockError):
                    self.tier.reset()
                if which % 4 == 0:
                    return
            for row in sorted(self.running):
                self.finish(self.running[row], which, publish=which % 3 == 0)
            while self.locked:
                self.let_go(which)
            self.reset()

        def poll(self, which: int, letters: list[int]) -> None:
            """Some bytes move, some transfers end; ranks agree on that or on less."""
            moving = self.moving
            for step in range(which % 4):
                if moving.under_way:
                    at = (which // 4 + step) % len(moving.under_way)
                    if which // 16 % 2:
                        moving.copy(at)
                    else:
                        moving.end(at)
            ready = self.tier.ready()
            loads = self.tier.tickets.under_way[LOAD]
            ended = next((n for n, ticket in enumerate(loads) if not ticket.ended), len(loads))
            with self.refused(ArgumentError):
                self.tier.poll(Ready.sound(loads=ended + 1))
            fewer = which // 64 % 3
            agreed = less(ready, max(0, ready.writes - fewer), max(0, ready.loads - fewer // 2))
            if which // 200 % 3 == 0:  # who has to know of a load before the next poll
                self.tier.end_loads(agreed)
                self.end_rides()
                self.both_are_well()
                agreed = agreed._replace(loads=0, sound_loads=0)
            self.tier.poll(agreed)
            self.end_rides()

        def end_rides(self) -> None:
            """Those whose load has come go on like any other; the rest end."""
            for name, row, error, replaced in self.tier.rides_ended():
                request = self.running[row]
                ticket = self.ticket_of.pop(name)
                assert error in (None, DROPPED) or f"ticket {ticket} " in error, "not its own"
                assert self.riding.pop(row) == name
                node = self.tier.loads.holds[name].node
                request.receipt = self.cache.lock_path(node)
                self.tier.settle(name)
                if error is not None:
                    self.leave(request, request.slots, row)
                    continue
                request.shared = self.cache.refs.rows[row].shared * self.page
                assert node.end == request.shared
                if replaced:
                    pages = list(self.cache.refs.pages(row, 0, 10**6))
                    self.memory.rows[row][: request.shared // self.page] = pages[
                        : request.shared // self.page
                    ]

        def ride(self, which: int, letters: list[int]) -> None:
            """Somebody who waits runs at once: the bytes come before its forward needs them."""
            names = sorted(name for name in self.waiting if self.tier.waits(name))
            if not names or len(self.running) >= 4:
                return
            name = names[which % len(names)]
            if not self.cache.fits(self.page, self.states):
                return
            text = (*self.waiting[name], 7)
            depth = len(text) - 2
            orders = [order.ticket for order in self.moving.under_way]
            ticket = self.tier.loads._waits[name]
            back = self.comes_back.get(name)
            if ticket.rider is not None or ticket.number not in orders:
                with self.refused(ArgumentError) if ticket.rider else nullcontext():
                    self.tier.ride(name, 10**7) if ticket.rider else None
                return
            del self.waiting[name]
            slots = self.cache.take_states(self.states)
            self.next_row += 1
            row = self.next_row
            slot = self.tier.ride(name, row)
            self.moving.copy(orders.index(ticket.number))
            request = base.matched.__globals__["Request"](
                row, text, SimpleNamespace(usable_len=depth), None
            )
            request.slots = slots
            request.shared = self.cache.refs.rows[row].shared * self.page
            self.running[row] = request
            self.riding[row] = name
            self.ticket_of[name] = ticket.number
            self.rode += 1
            if back is not None:
                self.resumes(name, depth)
            self.memory.rows[row] = list(self.cache.refs.pages(row, 0, 10**6))
            for mine in slots:
                assert self.memory.states[slot] == request.prefix(depth)
                self.memory.states[mine] = request.prefix(depth)
            self.compute(request, depth + 1)

        def checkpoint(self, request: Any, which: int, **options: Any) -> None:
            if request.row not in self.riding:
                super().checkpoint(request, which, **options)

        def leave(self, request: Any, slots: Any, cut: int) -> None:
            name = self.riding.pop(request.row, None)
            if name is None:
                super().leave(request, slots, cut)
                return
            self.tier.get_off(name)
            self.did["get off"] += 1
            self.cache.free_states(slots)
            del self.running[request.row], self.memory.rows[request.row]

        def finish(self, request: Any, which: int, *, publish: bool) -> None:
            publish = publish and request.row not in self.riding
            super().finish(request, which, publish=publish)

        def break_down(self, which: int, letters: list[int]) -> None:
            """A transfer fails, or the next one cannot be submitted; not at the patient."""
            if self.patient or not self.moving.under_way:
                return
            if which % 2:
                self.moving.refuses = 1
            else:
                orders = self.moving.under_way
                loads = [n for n, order in enumerate(orders) if order.direction is LOAD]
                some = loads if loads and which // 2 % 2 else range(len(orders))
                at = some[which // 4 % len(some)]
                self.moving.end(at, f"ticket {orders[at].ticket} is broken")

        def matched_in_both(self, text: Any) -> TierMatch:
            """The longest prefix of either tier, and its contents are those of this text."""
            limit = len(text) - 2
            found = self.tier.match(self.key(text), limit)
            self.did["match"] += 1
            self.check_match(found.device, text)
            node = found.host_node
            if node is None:
                assert found.usable_len == found.device.usable_len
                return found
            assert found.device.usable_len < found.usable_len <= limit
            assert found.load_tokens == max(0, found.usable_len - found.device.kv_len)
            pages = list(self.tier.host.tree.path_pages(node))
            for i in range(found.usable_len):
                assert self.there.kv[pages[i // self.page], i % self.page] == text[: i + 2]
            if self.states:
                assert self.there.states[node.state] == text[: 1 + found.usable_len]
            whole = len(text) - 1
            missed = self.tier.explain(self.key(text), found, limit)
            assert sum(miss.tokens for miss in missed) == whole - found.device.usable_len
            assert missed[0].upto == found.usable_len
            return found

        def key(self, text: Any) -> Any:
            return Key(array("q", text[1:]).tobytes(), text[0])

        def name(self) -> str:
            self.names += 1
            return f"r{self.names}"

        def load(self, which: int, letters: list[int]) -> None:
            text = self.text_of(which, letters, 0)
            host = self.tier.host.tree
            there = [n for n in host.walk() if n.state is not None or not host.has_states]
            if which % 4 and there:  # what a load can bring
                text = (*self.prefix_of(there[which // 4 % len(there)]), 7)
            self.load_for(self.name(), text)

        def load_for(self, name: str, text: Any) -> Load:
            found = self.matched_in_both(text)
            before = self.picture()
            come = self.tier.load(name, self.key(text), found)
            if come in (Load.STARTED, Load.JOINED):
                self.waiting[name] = text[: 1 + found.usable_len]
                assert self.tier.waits(name)
                again = self.tier.match(self.key(text), len(text) - 2)
                assert again.device.usable_len <= found.usable_len
                assert come is Load.STARTED or self.picture() == before
            else:
                assert (come is Load.NOTHING) == (found.host_node is None)
                assert self.picture() == before
            return come

        def come_in(self, which: int, letters: list[int]) -> None:
            """Somebody who waits is admitted, or gives up."""
            if not self.waiting:
                return
            name = sorted(self.waiting)[which % len(self.waiting)]
            prefix = self.waiting.pop(name)
            if self.tier.waits(name):
                self.did["abort"] += 1
            elif which % 3 and len(self.running) < 4:
                self.go_in(name, prefix, which // 3)
            self.leave_line(name)

        def go_in(self, name: str, prefix: Any, which: int) -> None:
            """Runs on this prefix, if there is room."""
            there = self.cache.tree.peek(self.key(prefix)).usable_len
            self.texts = [*self.texts[-20:], prefix]
            row = self.next_row + 1
            self.admit([(*prefix, 7)], which)
            if row in self.running and name in self.comes_back:
                self.resumes(name, there)

        def resumes(self, name: str, tokens: int) -> None:
            """A retracted one goes on; where its state was safe, at exactly the same length."""
            if self.tier.retracted.is_safe(name):
                assert tokens == len(self.comes_back[name]) - 1
                self.did["resume"] += 1
            self.tier.goes_on(name, tokens)
            assert not self.tier.counters.retractions_short

        def leave_line(self, name: str) -> None:
            """Nobody waits or is kept under this name any more."""
            self.tier.settle(name)
            self.comes_back.pop(name, None)
            self.did["settle"] += 1
            assert not self.tier.waits(name)
            assert not self.tier.retracted.is_safe(name)

        def stop(self, which: int, letters: list[int]) -> None:
            """A running request is retracted."""
            if not self.running:
                return
            request = self.pick(which)
            if request.row in self.riding:
                return
            depth = request.done // self.page * self.page
            slot = self.state_at(request, depth) if self.states else None
            if not depth or depth < request.shared or (self.states and slot is None):
                return
            slots = list(request.slots)
            if self.publish(request, depth, slot, kv_only=False):
                slots.remove(slot)
            name = self.name()
            if which // 7 % 2:
                self.tier.retract(name, self.cache.latest.node)
            elif self.tier.back_up(name, self.cache.latest.node):
                self.wait_for_writes()
                assert self.tier.failure or self.tier.retracted.is_safe(name)
            self.stopped[name] = request.prefix(depth)
            self.did["retract"] += 1
            self.leave(request, tuple(slots), which)

        def wait_for_writes(self) -> None:
            """The step stops until they are there; loads go on."""
            for order in list(self.moving.under_way):
                if order.direction == WRITE:
                    self.moving.end(self.moving.under_way.index(order))
            self.tier.end_writes(self.tier.ready())

        def go_on(self, which: int, letters: list[int]) -> None:
            """A retracted request is back: what only the host has of it is loaded first."""
            if not self.stopped:
                return
            name = sorted(self.stopped)[which % len(self.stopped)]
            prefix = self.stopped[name]
            self.goes_on_at(name, prefix)
            come = self.load_for(name, (*prefix, 7))
            if come is Load.REFUSED and which % 5:
                return  # it tries again
            del self.stopped[name]
            self.comes_back[name] = prefix
            if come in (Load.STARTED, Load.JOINED):
                if self.tier.retracted.is_safe(name):
                    assert self.waiting[name] == prefix
                return
            if come is Load.NOTHING and len(self.running) < 4:
                self.go_in(name, prefix, which // 5)
            self.leave_line(name)

        def goes_on_at(self, name: str, prefix: Any) -> None:
            """Where its state is safe it goes on at exactly the length at which it stopped."""
            if not self.tier.retracted.is_safe(name):
                return
            there = self.tier.host.tree.peek(self.key(prefix))
            assert there.usable_len == len(prefix) - 1

        # What the base checks with one tier in mind

        def packed(self, tokens: int, states: int) -> bool:
            frames = self.cache.frames
            held = frames.states - self.cache.tree.state_evictable + states
            still = len(frames.held_still())
            return super().packed(tokens, states) and held + still <= frames.num_frames - 1

        def has_way(self, tokens: int, states: int) -> bool:
            if not len(self.tier.tickets):
                return bool(super().has_way(tokens, states))
            way = Admission.SOON
            for _ in range(self.cache.frames.num_frames):
                way = self.cache.make_way(tokens, states)
                self.all_is_well()
                if way is not Admission.SOON:
                    break
            fits = self.cache.fits(tokens, states)
            assert fits == (way is Admission.OPEN)
            return fits

        @precondition(lambda self: not self.running and not self.locked)
        @rule()
        def reset(self) -> None:
            """With transfers under way: what they bring is dropped."""
            self.did["reset"] += self.cache.tree.num_nodes + self.tier.host.tree.num_nodes > 0
            self.tier.reset()
            self.waiting.clear()
            self.stopped.clear()
            self.comes_back.clear()
            assert not len(self.tier.tickets)
            for cache in (self.cache, self.tier.host):
                stats = cache.stats()
                assert stats["frames_free"] == stats["frames"]
                assert stats["tree_nodes"] == stats["pages_in_use"] == 0

        def both_are_well(self) -> None:
            if not hasattr(self, "cache"):
                return
            tier = self.tier
            tier.host.check(2)
            assert violations(tier, 2) == []
            for node in tier.host.tree.walk():
                prefix = self.prefix_of(node)
                for i, page in enumerate(node.pages, node.start // self.page):
                    for offset in range(self.page):
                        token = i * self.page + offset
                        assert self.there.kv[page, offset] == prefix[: token + 2]
                if node.state is not None:
                    assert self.there.states[node.state] == prefix
            for name, prefix in self.waiting.items():
                if name in tier.loads.holds:
                    found = self.cache.tree.peek(self.key(prefix))
                    assert found.usable_len == len(prefix) - 1
            for name, prefix in self.stopped.items():
                self.goes_on_at(name, prefix)
            assert len(self.failures) == (tier.failure is not None)

        def all_is_well(self) -> None:
            super().all_is_well()
            self.both_are_well()

        def teardown(self) -> None:
            if not hasattr(self, "cache"):
                return
            tier = self.tier
            tier.drain()
            self.end_rides()
            assert not len(tier.tickets)
            super().teardown()
            tier.check(2)
            host = tier.host
            assert host.frames.pinned_pages == host.row_states == len(host.refs.rows) == 0
            host.evict_tokens(10**6)
            assert host.frames.free_frames == host.geometry.usable_frames

    return Tiered


def less(ready: Ready, writes: int, loads: int) -> Ready:
    """What ranks agree on that have ended no more than so many."""
    sound = min(writes, ready.sound_writes), min(loads, ready.sound_loads)
    return Ready(min(writes, ready.writes), min(loads, ready.loads), *sound)


def run_seed(machine: type, seed: int, stretches: int) -> Any:
    """One server from its start to its end, all of it from one number."""
    dice = Random(seed)
    server = machine()
    server.start_server(
        page=dice.choice([1, 4]),
        frames=dice.choice([8, 7, 9, 12, 6, 5]),
        full=dice.choice([3, 4, 5, 2, 1]),
        states=dice.choice([1, 1, 2, 2, 0]),
        caps=dice.choice([(None, None)] * 3 + [(13, None), (None, 4), (12, 5)]),
        tasks=[],
    )
    for _ in range(stretches):
        alone = bool(server.failures)
        server.work(dice.randrange(2**32))
        if alone:
            break  # the host is out of use, and that was looked at
    stats = {**server.tier.stats(), "rode": server.rode, **server.did, **facts(server)}
    server.teardown()
    return stats
