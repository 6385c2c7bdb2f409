"""Conversations of one length over a shared prefix: what they take of KV and states."""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.errors import InputError


class Workload(NamedTuple):
    """`context` tokens a conversation, the first `prefix` of them shared by all.

    `running` conversations are served at once; the others wait in the cache for a next turn.
    """

    context: int
    prefix: int
    running: int


class Need(NamedTuple):
    """Pages of KV and states."""

    pages: int
    states: int
    kept: int = 0
    """Of the states, those that no running request computes in: they may be compressed."""


def make_workload(context: int, prefix: int, share: float | None, running: int) -> Workload:
    """A workload from options; InputError when they do not fit together."""
    if context < 1:
        raise InputError(f"--context {context}: give at least 1 token")
    if running < 1:
        raise InputError(f"--concurrency {running}: give at least 1 request")
    if share is not None:
        if not 0 <= share < 1:
            raise InputError(f"--prefix-share {share:g}: give a share from 0 to below 1")
        prefix = int(context * share)
    if not 0 <= prefix < context:
        raise InputError(
            f"--prefix-tokens {prefix}: the shared prefix must be shorter than --context {context}"
        )
    return Workload(context, prefix, running)


def need(w: Workload, page: int, running: int, cached: int, states_of_running: int) -> Need:
    """What `running` and `cached` conversations take together.

    Whole pages of the prefix are there once, and with them one state at its end; the rest of a
    conversation is its own.  A cached one keeps the state at its end.  `states_of_running` is
    0 for a model without states.
    """
    shared = w.prefix // page
    own = -(-(w.context - shared * page) // page)
    pages = shared + (running + cached) * own
    if not states_of_running:
        return Need(pages, 0)
    kept = int(shared > 0) + cached
    return Need(pages, kept + running * states_of_running, kept)
