"""JSON without the liberties that Python's reader takes."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachepawl.errors import InputError
from cachepawl.offline.strict_json import parse_json, parse_object

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)  # fmt: skip


@given(VALUES)
def test_reads_what_json_writes(value: object) -> None:
    assert parse_json(json.dumps(value), "here") == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON: empty"),
        ("{", "not JSON"),
        ("[1,]", "not JSON"),
        ("NaN", "NaN is not a number"),
        ("[-Infinity]", "-Infinity is not a number"),
        ("1e999", "1e999 is too large"),
        ("1" * 5000, "5000 digits"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' appears twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": 1}\n{"a": 2}', "Extra data"),
    ],
)
def test_refuses(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        parse_json(text, "file.json")
    assert str(caught.value).startswith("file.json: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "kind"), [("[]", "a list"), ("1", "a number"), ("null", "null")])
def test_an_object_is_needed(text: str, kind: str) -> None:
    with pytest.raises(InputError, match=f"an object is needed, found {kind}|found {kind}"):
        parse_object(text, "file.json")


@given(st.text(max_size=30))
def test_any_text_is_a_value_or_our_error(text: str) -> None:
    with contextlib.suppress(InputError):
        parse_json(text, "x")
