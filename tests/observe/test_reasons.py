"""Why a prompt was computed: the tokens of all reasons add up to what was computed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cachepawl.observe.reasons import (
    NO_STATE,
    NOTHING_CACHED,
    STATE_AT_END,
    MissReason,
    explain,
)

LENGTHS = st.integers(0, 40)


@settings(derandomize=True, deadline=None, max_examples=300, database=None)
@given(LENGTHS, LENGTHS, LENGTHS, st.booleans())
def test_tokens_add_up(prompt: int, kv_len: int, usable: int, at_end: bool) -> None:
    usable = min(usable, prompt)
    reasons = explain(prompt, kv_len, usable, beyond=STATE_AT_END if at_end else NO_STATE)
    assert sum(reason.tokens for reason in reasons) == prompt - usable
    assert all(reason.tokens > 0 for reason in reasons)
    names = [reason.reason for reason in reasons]
    assert len(names) == len(set(names))
    no_state = STATE_AT_END if at_end else NO_STATE
    assert (no_state in names) == (usable < min(kv_len, prompt))
    assert (NOTHING_CACHED in names) == (prompt > max(kv_len, usable))


def test_examples() -> None:
    assert explain(100, 64, 32, beyond=NO_STATE) == [
        MissReason("KV without a state", 32),
        MissReason("nothing cached", 36),
    ]
    assert explain(100, 100, 64, beyond=STATE_AT_END) == [
        MissReason("state only at the prompt's end", 36)
    ]
    assert explain(100, 0, 0, beyond=NO_STATE) == [MissReason("nothing cached", 100)]
    assert explain(0, 0, 0, beyond=NO_STATE) == []


def test_text() -> None:
    assert str(MissReason(NO_STATE, 32)) == "32 KV without a state"
