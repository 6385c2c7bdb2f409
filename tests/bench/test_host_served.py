"""The load of `make bench-host-served`: everybody is asked the same, in an order that is fixed.

The servers play a small one in `tests/server/test_hicache.py`.
"""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("sglang")

from benchmarks.host.contestants import MODELS
from benchmarks.host.served import SIZES
from benchmarks.host.talk import ORDERS, Script, Sizes

SMALL = Sizes(conversations=5, turns=3, common=8, first=20, more=10, answer=4)


def play(script: Script, answer: int) -> tuple[list[list[int]], int]:
    """The prompts that a server is asked which answers with one token only, and strange answers."""
    prompts, asked = script.prompts(), []
    while ids := prompts.next():
        asked.append(ids)
        prompts.answered([answer] * SMALL.answer)
    return asked, prompts.others


@pytest.mark.parametrize("order", ORDERS)
def test_all_are_asked_what_the_first_was(order: str) -> None:
    script = ORDERS[order](SMALL)
    first, second = play(script, 7), play(script, 9)
    assert first == (second[0], 0)
    assert second[1] == len(script.order) == SMALL.conversations * SMALL.turns
    assert play(ORDERS[order](SMALL), 7) == first


@pytest.mark.parametrize("order", ORDERS)
def test_a_turn_goes_on_from_the_answer_before_it(order: str) -> None:
    script = ORDERS[order](SMALL)
    asked, _ = play(script, 7)
    assert Counter(script.order) == dict.fromkeys(range(SMALL.conversations), SMALL.turns)
    last: dict[int, list[int]] = {}
    for who, ids in zip(script.order, asked, strict=True):
        before = last.get(who)
        if before is None:
            assert len(ids) == SMALL.common + SMALL.first
            assert ids[: SMALL.common] == asked[0][: SMALL.common]
        else:
            assert ids[: -SMALL.more] == before + [7] * SMALL.answer
        last[who] = ids
    assert {len(ids) + SMALL.answer for ids in last.values()} == {SMALL.longest}
    assert len({tuple(ids) for ids in asked}) == len(asked)


def test_conversations_do_not_fit_the_device_and_fit_the_host() -> None:
    own = SIZES.longest - SIZES.common
    for model in MODELS:
        kv = (SIZES.common + SIZES.conversations * own) * model.entry
        needed = kv + SIZES.conversations * model.state
        assert model.device_bytes < needed < model.host_bytes
        assert SIZES.longest < min(model.context, model.tokens)
