"""Marconi's traces: token ids, not blocks.

`ts` in seconds, `session_id`, `turn_id`, `input_tokens` (the whole prompt: the history and
what is new), `output_tokens`, and both lists' lengths as `num_input_tokens` and
`num_output_tokens`.  Source: github.com/ruipeterpan/marconi, the traces of its artifact.
"""

from __future__ import annotations

from collections.abc import Iterator

from cachepawl.errors import InputError
from cachepawl.offline.traces import fields
from cachepawl.offline.traces.fields import Fields
from cachepawl.offline.traces.request import Record

BLOCK_TOKENS = 1
MARKS = ("ts", "input_tokens")


def records(value: Fields, line: int) -> Iterator[Record]:
    """The one request of a line.  InputError says what is wrong with it."""
    prompt = _counted(value, "input_tokens")
    if not prompt:
        raise InputError("input_tokens is empty; a prompt has at least one token")
    yield Record(
        at=fields.seconds(value, "ts"),
        blocks=prompt,
        block_tokens=BLOCK_TOKENS,
        tokens=len(prompt),
        output=_answer(value),
        conversation=_session(value),
    )


def _counted(value: Fields, name: str) -> list[int]:
    """A list of token ids whose length is given once more."""
    found = fields.ids(value, name)
    if f"num_{name}" in value and (given := fields.tokens(value, f"num_{name}")) != len(found):
        raise InputError(f"num_{name} is {given}, but {name} has {len(found)} ids")
    return found


def _answer(value: Fields) -> int:
    """Tokens of the answer, by their ids or by their number alone."""
    if "output_tokens" in value:
        return len(_counted(value, "output_tokens"))
    return fields.tokens(value, "num_output_tokens")


def _session(value: Fields) -> str:
    """Sessions are numbered; where there is none, nothing is known."""
    if "turn_id" in value:
        fields.tokens(value, "turn_id")
    if "session_id" not in value:
        return ""
    return str(fields.integer(value, "session_id", 0, fields.MOST_ID))
