"""Reading a saved map: what was drawn comes back, and nothing that does not add up."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_caches import SmallCache, small_caches

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import InputError
from cachepawl.observe.snapshot import snapshot
from cachepawl.offline.map.picture import parse_picture, read_picture
from cachepawl.offline.map.report import text_report
from cachepawl.offline.render import to_json


def busy() -> dict[str, Any]:
    """A picture in which nothing is zero, but a few things that cannot be both."""
    small = SmallCache(4, 40, 3)
    for text in ([1, 1, 1], [1, 1, 2, 2], [1, 3], [2, 2, 2, 2, 2]):
        small.admit(2, text)
        small.finish(small.running[-1], 1)
    small.admit(2, [1, 1, 2, 2, 0])
    small.admit(2, [2, 1])
    return snapshot(small.cache, most_nodes=5, most_cells=14)


@settings(max_examples=60, deadline=None)
@given(small_caches(), st.integers(1, 12), st.integers(1, 12))
def test_every_picture_is_read(cache: HybridPrefixCache, nodes: int, cells: int) -> None:
    drawn = snapshot(cache, nodes, cells)
    picture = parse_picture(drawn, "here")
    assert picture.model_dump() == drawn
    assert json.loads(to_json(text_report(picture, "a map").data)) == drawn


def numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the numbers are that the picture's parts have in common."""
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            if key != "stats":
                yield from numbers(child, (*path, key))
    elif isinstance(value, int):
        yield path


FREE_FIELDS = {"kv_locks", "state_locks", "kv_rank", "state_rank", "requests"}
"""Nothing else says what these are."""


@pytest.mark.parametrize("path", numbers(busy()), ids=lambda path: ".".join(map(str, path)))
def test_one_wrong_number_and_the_picture_is_refused(path: tuple[Any, ...]) -> None:
    drawn = busy()
    *way, last = path
    place = drawn
    for key in way:
        place = place[key]
    for wrong in (place[last] + 1, place[last] * 2 + 4096, -5, True, str(place[last]), None, 1.5):
        place[last] = wrong
        if last in FREE_FIELDS and (wrong is None or (type(wrong) is int and wrong >= 0)):
            continue
        with pytest.raises(InputError) as refused:
            parse_picture(drawn, "saved.json")
        assert str(refused.value).startswith("saved.json: ")
        assert "\n" not in str(refused.value)


def put(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda drawn: drawn.update(values)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put(format="else"), "format 'else', not 'cachepawl-map'"),
        (lambda d: d.pop("format"), "neither a recording nor a saved map"),
        (put(version=2), "version 2; this cachepawl reads 1"),
        (put(extra=1), "extra"),
        (lambda d: d.pop("cells"), "cells: Field required"),
        (lambda d: d["bytes"].pop("free"), "other kinds"),
        (lambda d: d["tree"]["entries"].pop(), "nodes"),
        (lambda d: d["cells"]["bytes"].pop(), "cells"),
        (lambda d: d["tree"]["entries"][0].update(namespace="<svg>"), "namespace '<svg>'"),
        (lambda d: d["tree"]["entries"][0].update(parent=3), "its parent comes after it"),
        (lambda d: d["geometry"].update(frames=10**30), "geometry.frames"),
        (lambda d: d["stats"].update(hits="many"), "stats.hits 'many'"),
        (lambda d: d["cells"].update(bytes=[[0] * 10] * 5000), "cells.bytes"),
    ],
)
def test_what_is_wrong_is_named(change: Callable[..., Any], says: str) -> None:
    drawn = copy.deepcopy(busy())
    change(drawn)
    with pytest.raises(InputError, match=r"^x: ") as refused:
        parse_picture(drawn, "x")
    assert says in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": NaN}', "\x00", '{"a":1,"a":2}'])
def test_files_that_hold_no_picture(tmp_path: Path, text: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"map\.json"):
        read_picture(path)
