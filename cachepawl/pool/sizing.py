"""How much arena is of use under the caps that flags set, and how many requests it takes.

From bytes, never from a ratio.  No torch, no SGLang: the launcher and the offline plans
size an arena with the same functions.
"""

from __future__ import annotations

from cachepawl.errors import ConfigError
from cachepawl.pool.frames import UNLIMITED
from cachepawl.pool.geometry import Geometry

MOST_REQUESTS = 4096
"""Requests at once where --max-running-requests does not say."""


def caps(
    shapes: Geometry, states: int, max_tokens: int | None, max_states: int | None
) -> tuple[int, int]:
    """Pages and states at most, from --max-total-tokens and --max-mamba-cache-size.

    ConfigError for a cap that not even one request, which takes `states`, fits under.
    """
    if shapes.state is not None and max_states is not None and max_states < states:
        raise ConfigError(
            f"--max-mamba-cache-size {max_states}: a request takes {states} state slots; give at "
            f"least {states}, or drop the flag"
        )
    if max_tokens is not None and max_tokens < 2 * shapes.page_tokens:
        raise ConfigError(
            f"--max-total-tokens {max_tokens}: a request takes at least two pages of "
            f"{shapes.page_tokens} tokens; give at least {2 * shapes.page_tokens}"
        )
    pages = UNLIMITED if max_tokens is None else max(1, max_tokens // shapes.page_tokens)
    return pages, UNLIMITED if max_states is None or not shapes.state else max_states


def useful_bytes(shapes: Geometry, page_cap: int, state_cap: int) -> int:
    """Bytes beyond which the caps leave the arena no use for more; UNLIMITED without caps."""
    states = state_cap if shapes.state else 0
    if UNLIMITED in (page_cap, states):
        return UNLIMITED
    return (1 + states + -(-page_cap // shapes.pages_per_frame)) * shapes.frame_bytes


def request_limit(geometry: Geometry, states: int, wanted: int | None, data_parallel: int) -> int:
    """Requests at once: as wanted, at most what the bytes hold at one page each.

    `states` are the slots of one request, `data_parallel` the ranks that share `wanted`.
    """
    pages = geometry.usable_frames * geometry.pages_per_frame
    by_bytes = pages // (states * geometry.pages_per_frame + 1)
    limit = MOST_REQUESTS if wanted is None else max(1, wanted // data_parallel)
    return max(1, min(limit, by_bytes))


def token_limit(geometry: Geometry, page_cap: int) -> int:
    """KV tokens at most: what all usable frames hold, under the cap on pages."""
    return min(geometry.usable_frames * geometry.tokens_per_frame, page_cap * geometry.page_tokens)
