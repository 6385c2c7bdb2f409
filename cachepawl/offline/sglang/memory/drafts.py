"""What speculative decoding adds: a draft model's KV, and copies of states to roll back to."""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.errors import InputError
from cachepawl.offline.sglang.flags import ServerFlags

DEFAULT_REQUESTS = 48
"""--max-running-requests where it is not given; source: `arg_groups/speculative_hook.py`."""


class Draft(NamedTuple):
    """Tokens a step guesses (0 without speculation), and layers of KV that guessing keeps."""

    tokens: int
    layers: int
    keeps_states: bool
    """Whether a running request keeps a state per guessed token.  A prefill-only server does
    not verify.  Source: `_pd_prefill_skips_mamba_spec_state`."""


NO_DRAFT = Draft(0, 0, False)


def draft_of(flags: ServerFlags) -> Draft:
    """One draft layer for EAGLE and NEXTN, which is what their published drafts have.

    InputError when the number of guessed tokens is not given.
    """
    if flags.speculative_algorithm is None:
        return NO_DRAFT
    name, tokens = flags.speculative_algorithm.upper(), flags.speculative_num_draft_tokens
    if tokens is None or tokens < 1:
        raise InputError(
            f"--speculative-algorithm {name}: give --speculative-num-draft-tokens, which decides "
            f"how many states a request takes"
        )
    return Draft(tokens, int(name != "NGRAM"), flags.disaggregation_mode != "prefill")
