"""With ample memory, one request at a time: hits against a brute force over prefixes.

The brute force keeps two sets of prefixes, those with KV and those with a state, and the
rules of where a server leaves states in its own words.
"""

from __future__ import annotations

from array import array
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_replays import GRID, REQUESTS, request, scenario

from cachepawl.offline.replay.outcome import replay
from cachepawl.offline.traces.request import TraceRequest

Prefix = tuple[int, ...]
CHUNK = 32


def brute_force(requests: list[TraceRequest]) -> int:
    """Tokens hit: states at grid depths, chunks of 32 tokens, pages of 4."""
    kv: set[Prefix] = set()
    states: set[Prefix] = set()
    hit = 0
    for one in requests:
        text = tuple(array("q", one.key.tokens))
        usable = deepest(states, text, len(text) - 1)
        cached = min(deepest(kv, text, len(text)), len(text) - 1)
        hit += usable
        for depth in snapshots(len(text), usable, cached):
            states.add(text[:depth])
            kv |= {text[:n] for n in range(4, depth + 1, 4)}
    return hit


def deepest(known: set[Prefix], text: Prefix, most: int) -> int:
    return max((n for n in range(most + 1) if text[:n] in known), default=0)


def snapshots(prompt: int, usable: int, cached: int) -> list[int]:
    """Depths of the states that a prefill leaves."""
    branch = cached // GRID * GRID
    last = prompt // GRID * GRID
    if prompt - usable <= CHUNK:
        if usable < branch < last:
            return [branch, last]
        if last == prompt and last - GRID > usable:
            return [last - GRID, last]
        return [last] if last > usable else []
    borders = [*range(usable, prompt, CHUNK), prompt]
    found = []
    for start, stop in pairwise(borders):
        if start < branch < stop:
            found.append(branch)
        elif stop - start >= GRID:
            found.append(stop // GRID * GRID)
    return found


@given(REQUESTS, st.sampled_from(["auto", "int8", "fp8"]))
@settings(max_examples=150)
def test_hits_are_those_of_the_brute_force(requests: list[TraceRequest], dtype: str) -> None:
    wanted = scenario("mamba", chunk=CHUNK, check_level=1, checkpoint_dtype=dtype)
    assert replay(wanted, requests).total.hit == brute_force(requests)


@given(REQUESTS)
@settings(max_examples=60)
def test_answers_that_stay_are_never_hit(requests: list[TraceRequest]) -> None:
    held = replay(scenario("mamba"), requests).total
    kept = replay(scenario("mamba", answers="publish"), requests).total
    assert kept.hit == held.hit


@given(REQUESTS)
@settings(max_examples=60)
def test_pure_attention_hits_every_whole_page(requests: list[TraceRequest]) -> None:
    known: set[Prefix] = set()
    hit = 0
    for one in requests:
        text = tuple(array("q", one.key.tokens))
        hit += deepest(known, text, len(text) - 1)
        known |= {text[:n] for n in range(4, len(text) + 1, 4)}
    assert replay(scenario("attention"), requests).total.hit == hit


@given(REQUESTS)
@settings(max_examples=60)
def test_short_convolutions_have_a_state_where_a_chunk_ends(requests: list[TraceRequest]) -> None:
    """At the end of the prompt, and before it where the prompt leaves what is cached."""
    states: set[Prefix] = set()
    kv: set[Prefix] = set()
    hit = 0
    for one in requests:
        text = tuple(array("q", one.key.tokens))
        usable = deepest(states, text, len(text) - 1)
        branch = min(deepest(kv, text, len(text)), len(text) - 1)
        hit += usable
        if len(text) - usable <= 64:
            states |= {text[:branch]} if branch > usable else set()
        else:
            states |= {text[:n] for n in range(usable + 64, len(text), 64)}
        states.add(text)
        kv |= {text[:n] for n in range(1, len(text) + 1)}
    assert replay(scenario("conv"), requests).total.hit == hit


def test_third_request_of_a_fork_hits_the_branch() -> None:
    stem = list(range(100, 116))
    requests = [request([*stem, *(1000 * i + n for n in range(17))]) for i in range(1, 5)]
    found = replay(scenario("mamba"), requests)
    assert [window.hit for window in found.windows] == [0, 0, 16, 16]
    assert found.total.missed["KV without a state"] == 16


@pytest.mark.parametrize(("tokens", "hit"), [(33, 32), (32, 24), (31, 24), (8, 0)])
def test_the_same_prompt_again(tokens: int, hit: int) -> None:
    again = request(range(tokens))
    assert replay(scenario("mamba"), [again, again]).total.hit == hit
