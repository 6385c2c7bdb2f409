"""No byte goes to the host twice, whatever happens to the edges that are being copied."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import PAGE, Rig, key_of

from cachepawl.offload.tickets import WRITE
from cachepawl.offload.writing import WRITE_POLICIES

A, B, C = "aaaabbbb", "aaaabbbbcccc", "aaaabbbbccccdddd"


def written(rig: Rig) -> tuple[int, int]:
    """Pages and states in all orders so far."""
    copies = [order.copy for order in rig.moving.log if order.direction is WRITE]
    pages = sum(copy.pages_from.count for copy in copies)
    return pages, sum(len(copy.states_from) for copy in copies)


@pytest.mark.parametrize("states", [True, False])
def test_an_edge_that_is_cut_while_it_is_copied(states: bool) -> None:
    """Both halves are on the way: who branches off between them waits."""
    rig = Rig(states=states, frames=20)
    rig.run(C)
    rig.tier.poll()
    more = [A, A + "xxxx", A + "yyyyzzzz", "aaaawwww", B]
    for text in more:
        rig.run(text)
        rig.tier.poll()
    assert len(rig.moving.under_way) == 1
    rig.settle_writes()
    assert written(rig) == (4 + 1 + 2 + 1, 6 if states else 0)
    assert rig.host.counters.duplicate_pages == 0
    assert all(rig.on_host(text) == len(text) for text in [C, *more])


def test_what_the_host_had_of_a_cut_edge_is_not_under_way() -> None:
    """The host has half of an edge; it is cut above that, and what branches off there may go."""
    rig = Rig(states=False, frames=20)
    rig.run(B)
    rig.settle_writes()
    rig.evict_device()
    rig.run(C)
    rig.tier.poll()
    assert written(rig) == (3 + 1, 0)
    rig.run("aaaaxxxx")
    rig.tier.poll()
    assert len(rig.moving.under_way) == 2
    rig.run(B + "yyyy")
    rig.tier.poll()
    assert len(rig.moving.under_way) == 3
    rig.settle_writes()
    assert written(rig) == (3 + 1 + 1 + 1, 0)


def test_a_cut_edge_whose_copy_fails_holds_up_nobody() -> None:
    rig = Rig()
    rig.run(C)
    rig.tier.poll()
    rig.run(A)
    rig.moving.end(0, "broken")
    rig.tier.poll()
    rig.check()
    assert not rig.tier.writes.under_way.as_sets()


def test_a_state_alone_that_is_used_again() -> None:
    """Its KV is on the host, so no KV of it is under way: it is itself."""
    rig = Rig()
    for text in (A, C):
        rig.run(text)
        rig.settle_writes()
    rig.host.evict_states(1)
    assert (rig.on_host(A), rig.on_host(C)) == (0, len(C))
    before = written(rig)
    for _ in range(3):
        rig.run(A + "xxxx", state=False)  # begins there, so it is used
        rig.tier.poll()
    rig.settle_writes()
    assert rig.on_host(A) == len(A)
    assert written(rig) == (before[0], before[1] + 1)


@pytest.mark.parametrize("text", [C, C + "xxxx", A, "aaaaxxxx"])
def test_backed_up_at_once_while_it_is_copied(text: str) -> None:
    """Who stops to make room is not written beside a copy of the same; it comes right behind."""
    rig = Rig(frames=20)
    rig.run(C)
    rig.tier.poll()
    node = rig.run(text).node
    assert not rig.tier.back_up("r", node)
    assert not rig.tier.writes.start_now(node)
    rig.check()
    assert written(rig) == (4, 1)
    rig.moving.end(0)
    rig.tier.end_writes(rig.tier.ready())
    assert rig.tier.back_up("r", node) == (text != C)
    rig.moving.wait()
    rig.tier.end_writes(rig.tier.ready())
    rig.check()
    assert rig.tier.retracted.is_safe("r")
    assert rig.host.counters.duplicate_pages == 0
    more = len(text) // PAGE - len(set(text[:16:4]) & set("abcd"))
    assert written(rig) == (4 + more, 1 if text == C else 2)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from(list(WRITE_POLICIES)), st.booleans())
def test_of_many(seed: int, writing: str, states: bool) -> None:
    """Prompts that leave each other everywhere; copies end when they please."""
    sizes = {"frames": 24, "host_frames": 400, "free_frames": 12}
    rig = Rig(writing=writing, states=states, **sizes)
    dice = Random(seed)
    pages: list[str] = []
    slots: list[str] = []
    for _ in range(40):
        text = "".join(dice.choice("ab") * PAGE for _ in range(dice.randint(1, 5)))
        if rig.cache.fits(3 * len(text), 2):
            rig.run(text)
        seen = len(rig.moving.log)
        rig.tier.poll()
        node = rig.cache.tree.peek(key_of(text)).node
        if node.parent is not None and dice.random() < 0.3:
            rig.tier.back_up("r", node)
        rig.check()
        for order in rig.moving.log[seen:]:
            pages += [rig.here.kv[page, PAGE - 1] for page in order.copy.pages_from]
            slots += [rig.here.states[slot] for slot in order.copy.states_from]
        while rig.moving.under_way and dice.random() < 0.4:
            rig.moving.end(dice.randrange(len(rig.moving.under_way)))
    assert len(set(pages)) == len(pages)
    assert len(set(slots)) == len(slots)
