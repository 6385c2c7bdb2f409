"""What is drawn is what is there: every entry once, to scale, and every byte in its colour."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest
from browser import drawn_page
from hypothesis import given, settings
from hypothesis import strategies as st
from small_caches import SmallCache, small_caches

from cachepawl.cache import HybridPrefixCache
from cachepawl.observe.cells import KINDS
from cachepawl.observe.snapshot import snapshot
from cachepawl.offline.map.drawings import draw_bytes, draw_frames, draw_tree
from cachepawl.offline.map.kinds import LOOKS, bytes_text, share_text
from cachepawl.offline.map.picture import Picture, parse_picture
from cachepawl.offline.map.report import page_report, svg_text, text_report
from cachepawl.offline.map.rows import place
from cachepawl.offline.map.svg import STYLE, Canvas
from cachepawl.offline.map.text import BAR, frames_text, tree_text
from cachepawl.offline.map.words import cell_words, entry_words
from cachepawl.offline.render import to_html, to_markdown

SVG = "{http://www.w3.org/2000/svg}"
PICTURES = st.builds(
    lambda cache, nodes, cells: picture_of(cache, nodes=nodes, cells=cells),
    small_caches(),
    st.integers(1, 30),
    st.integers(1, 30),
)


def picture_of(cache: HybridPrefixCache, nodes: int = 200, cells: int = 200) -> Picture:
    return parse_picture(snapshot(cache, nodes, cells), "here")


def groups(canvas: Canvas) -> list[tuple[str, list[dict[str, str]]]]:
    """Titles, and the boxes under each."""
    return [
        (group.findtext("title") or "", [box.attrib for box in group.iter("rect")])
        for group in canvas.root.iter("g")
    ]


def width(box: dict[str, str]) -> float:
    return float(box["width"])


@settings(max_examples=60, deadline=None)
@given(PICTURES)
def test_the_bar_is_the_arena(picture: Picture) -> None:
    canvas = draw_bytes(picture)
    found = groups(canvas)
    held = {kind: size for kind, size in picture.bytes.items() if size}
    assert [boxes[0]["class"] for _, boxes in found] == list(held)
    for (title, (box,)), (kind, size) in zip(found, held.items(), strict=True):
        assert width(box) == pytest.approx(canvas.width * size / picture.total_bytes, abs=0.01)
        assert title.startswith(f"{LOOKS[kind].label}: {bytes_text(size)}")


@settings(max_examples=60, deadline=None)
@given(PICTURES)
def test_every_entry_is_drawn_once_to_scale(picture: Picture) -> None:
    found = groups(draw_tree(picture))
    spots = place(picture.tree)
    assert [title for title, _ in found] == ["; ".join(entry_words(s.entry)) for s in spots]
    longest = max((s.entry.end for s in spots), default=0)
    full = max((float(b["x"]) + width(b) for _, boxes in found for b in boxes), default=0)
    for (_, boxes), (entry, *_) in zip(found, spots, strict=True):
        if not entry.is_summary and entry.tokens > longest / 50:
            left = min(float(b["x"]) for _, bs in found for b in bs)
            scale = (full + 1 - left) / longest
            assert float(boxes[0]["x"]) == pytest.approx(left + entry.start * scale, abs=1)
            assert width(boxes[0]) == pytest.approx(entry.tokens * scale - 1, abs=1)
        looks = [box["class"] for box in boxes]
        if entry.is_summary:
            assert looks[-1] == "many"
            locked = sum(width(b) for b in boxes if b["class"] == "kv_locked faint")
            share = locked / width(boxes[-1])
            assert share == pytest.approx(entry.locked_tokens / entry.tokens, abs=0.01)
        else:
            locked = "kv_locked" if entry.locked_tokens else "kv_evictable"
            state = ["states_locked" if entry.locked_states else "states_evictable"]
            assert looks == [locked, *state * entry.states]


@settings(max_examples=60, deadline=None)
@given(PICTURES)
def test_rows_do_not_overlap(picture: Picture) -> None:
    spots = place(picture.tree)
    assert len(spots) == len(picture.tree.entries)
    assert {id(spot.entry) for spot in spots} == {id(entry) for entry in picture.tree.entries}
    taken: set[tuple[int, int]] = set()
    for entry, level, top, bottom in spots:
        cells = {(level, row) for row in range(top, bottom)}
        assert cells
        assert not cells & taken
        taken |= cells
        if entry.parent >= 0:
            above = next(s for s in spots if s.entry is picture.tree.entries[entry.parent])
            assert above.top <= top < bottom <= above.bottom
            assert level == above.level + 1


@settings(max_examples=60, deadline=None)
@given(PICTURES)
def test_every_cell_is_filled_with_what_it_holds(picture: Picture) -> None:
    found = groups(draw_frames(picture))
    assert [title for title, _ in found] == [
        cell_words(picture, i) for i in range(len(picture.cells.bytes))
    ]
    for (_, (frame, *parts)), cell in zip(found, picture.cells.bytes, strict=True):
        held = {k: n for k, n in zip(KINDS, cell, strict=True) if n and k != "free"}
        assert [part["class"] for part in parts] == list(held)
        for part, size in zip(parts, held.values(), strict=True):
            share = float(part["height"]) / float(frame["height"])
            assert share == pytest.approx(size / sum(cell), abs=0.001)


@settings(max_examples=40, deadline=None)
@given(PICTURES, st.text())
def test_an_svg_is_xml_whatever_its_title(picture: Picture, title: str) -> None:
    root = ET.fromstring(svg_text(picture, f"Map of {title}"))
    assert root.tag == f"{SVG}svg"
    assert len(root.findall(f"{SVG}svg")) == 3
    used = {name for e in root.iter() for name in e.get("class", "").split()} - {"pawl"}
    assert all(f".{name}" in STYLE for name in used)
    assert not [e for e in root.iter() if "href" in "".join(e.attrib) or e.tag.endswith("script")]
    for box in root.iter(f"{SVG}rect"):
        assert width(box.attrib) > 0
        assert float(box.attrib["height"]) > 0


@settings(max_examples=60, deadline=None)
@given(PICTURES)
def test_the_text_has_a_line_an_entry_and_a_mark_a_cell(picture: Picture) -> None:
    entries = picture.tree.entries
    if not entries:
        assert tree_text(picture) == "The tree is empty."
        return
    lines = tree_text(picture).split("\n\n")[0].split("\n")
    longest = max(entry.end for entry in entries)
    for line, spot in zip(lines, place(picture.tree), strict=True):
        entry = spot.entry
        assert line[BAR:].strip() == "; ".join(entry_words(entry))
        bar = line[:BAR].strip()
        assert set(bar) <= set("=#~sS")
        assert abs(len(bar) - BAR * (entry.end - entry.start) / longest) <= 1
        if not entry.is_summary:
            assert bar[-1] in "sS" if entry.states else bar[-1] in "#="
    drawn = frames_text(picture).split("\n\n")[0].split("\n")
    marks = "".join(line[10:] for line in drawn if line[9:10] == " " and line[8:9].isdigit())
    assert len(marks) == len(picture.cells.bytes)
    for mark, cell in zip(marks, picture.cells.bytes, strict=True):
        (kind,) = (kind for kind, look in LOOKS.items() if look.mark == mark)
        assert cell[KINDS.index(kind)] == max(cell)


def locked_everywhere() -> Picture:
    """A picture with every kind of bytes but those of an empty arena."""
    small = SmallCache(4, 30, 3)
    for which, text in ((2, [1, 1, 1]), (2, [1, 1, 2, 2]), (3, [1, 3])):
        small.admit(which, text)
        small.finish(small.running[-1], 1)
    small.admit(2, [1, 1, 2, 2, 0])
    return picture_of(small.cache)


def test_the_words_of_a_page() -> None:
    picture = locked_everywhere()
    assert all(picture.bytes.values())
    text = to_markdown(text_report(picture, "Map of it").document)
    assert "29 frames" in text
    assert "1 running request." in text
    assert all(look.label in text for look in LOOKS.values())
    assert "state, locked" in text
    assert f"namespace {picture.tree.entries[0].namespace}" in text


def test_a_browser_shows_the_page(tmp_path: Any) -> None:
    picture = locked_everywhere()
    dom = drawn_page(to_html(page_report(picture, "Map of <it>").document), tmp_path)
    assert dom.count("<svg") == 3
    assert dom.count("<title>") == 1 + sum(
        len(groups(draw(picture))) for draw in (draw_bytes, draw_tree, draw_frames)
    )
    assert "Map of &lt;it&gt;" in dom


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 9, "0.0 %"), (1, 10**6, "< 0.1 %"), (1, 2, "50.0 %"), (9, 9, "100.0 %"),
     (10**6 - 1, 10**6, "> 99.9 %"), (9994, 10**4, "99.9 %")],
)  # fmt: skip
def test_shares(part: int, whole: int, text: str) -> None:
    assert share_text(part, whole) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (3 << 20, "3.00 MiB"),
        (5 << 40, "5.00 TiB"),
    ],
)
def test_bytes(count: int, text: str) -> None:
    assert bytes_text(count) == text
