"""The search inside an edge against a token-by-token one."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from cachepawl.tree.edges import shared_bytes


def by_hand(edge: bytes, tokens: bytes, at: int, page: int) -> int:
    shared = 0
    while (
        shared + page <= min(len(edge), len(tokens) - at)
        and edge[shared : shared + page] == tokens[at + shared : at + shared + page]
    ):
        shared += page
    return shared


@settings(derandomize=True, deadline=None, max_examples=300, database=None)
@given(
    page=st.sampled_from([8, 24, 32, 128, 512, 4096]),
    pages=st.integers(1, 300),
    fork=st.integers(0, 10**6),
    extra=st.integers(-200, 200),
    at=st.integers(0, 40),
)
@example(page=8, pages=1, fork=0, extra=0, at=0)
@example(page=8, pages=300, fork=2399, extra=0, at=3)
def test_shared_bytes(page: int, pages: int, fork: int, extra: int, at: int) -> None:
    edge = bytes(i * 7 % 251 for i in range(page)) * pages
    fork = page + fork % (len(edge) - page + 1)  # the first page is known to be equal
    tokens = bytearray(edge[: max(len(edge) + extra, page)])
    if fork < len(tokens):
        tokens[fork] ^= 1
    key = bytes(at) + bytes(tokens)
    assert shared_bytes(edge, key, at, page) == by_hand(edge, key, at, page)
