"""A slice of a trace as prompts for a tiny model: shorter, with the same prefixes in common.

`SCALE` tokens of the trace become one: a run of `BLOCK * SCALE` of them a block of `BLOCK`
tokens, the same ones wherever the trace has the same prefix up to there.  What is left of a
prompt is the request's own.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from typing import NamedTuple

from cachepawl.offline.traces import TraceRequest
from cachepawl.types import TOKEN_BYTES

BLOCK = 64
"""Tokens of the scaled prompt that stand for one run; the snapshot grid of the tiny models."""
VOCABULARY = range(5, 260)
MOST_ANSWER = 32


class Job(NamedTuple):
    """One request."""

    ids: list[int]
    answer: int
    at: float
    """Seconds after the first, in the trace's time."""


def scaled(requests: Iterable[TraceRequest], scale: int, longest: int, count: int) -> list[Job]:
    """The first `count` requests whose prompts are at most `longest` tokens when scaled."""
    jobs: list[Job] = []
    start: float | None = None
    for number, request in enumerate(requests):
        if len(jobs) == count:
            break
        tokens = len(request.key.tokens) // TOKEN_BYTES
        if 0 < tokens // scale <= longest:
            answer = max(1, min(request.output // scale, MOST_ANSWER))
            start = request.at if start is None else start
            jobs.append(Job(_prompt(request, scale, number), answer, request.at - start))
    return jobs


def _prompt(request: TraceRequest, scale: int, number: int) -> list[int]:
    run = BLOCK * scale * TOKEN_BYTES
    tokens = request.key.tokens
    prefix, ids = hashlib.sha256(request.key.namespace), []
    for start in range(0, len(tokens) - run + 1, run):
        prefix.update(tokens[start : start + run])
        ids += _words(prefix.digest(), BLOCK)
    rest = len(tokens) % run // TOKEN_BYTES // scale
    return ids + _words(b"%d" % number, max(1, rest))


def _words(seed: bytes, count: int) -> list[int]:
    return random.Random(seed).choices(VOCABULARY, k=count)
