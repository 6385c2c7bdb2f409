"""The reader of the event log: strict, and never surprised."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import tempfile
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_load import Load, recorded, write_log

from cachepawl.errors import InputError
from cachepawl.offline.recorded.first_look import is_recording
from cachepawl.offline.recorded.log import Log
from cachepawl.offline.recorded.report import exact_report
from cachepawl.offline.recorded.requests import MOST_OPEN, arrivals, requests_of
from cachepawl.offline.recorded.rerun import Rerun, run_to
from cachepawl.offline.render import to_json, to_markdown
from cachepawl.offline.traces.recording import RecordedTrace
from cachepawl.record.hashes import name_hash
from cachepawl.record.recording import Record
from cachepawl.record.verbs import CALLS
from cachepawl.types import Key


def rerun_of(path: Path) -> Rerun:
    rerun = Rerun(Log(path))
    for _ in rerun.run():
        pass
    return rerun


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    path = tmp_path_factory.mktemp("log") / "log"
    recorded(path, 30)
    return path.read_text().splitlines(keepends=True)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_requests_have_the_hits_of_the_run(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"log{suffix}"
    load = recorded(path, 120, part_bytes=4000)
    log = Log(path)
    requests = list(requests_of(Rerun(log)))
    assert len(log.parts) > 2
    assert len([hit for hit in load.hits.values() if hit]) > 20
    assert {r.name: (r.hit, r.cached, r.recorded, r.output) for r in requests} == {
        name_hash(b"salt", name): (hit, hit, hit, 3) for name, hit in load.hits.items()
    }
    for request in requests:
        assert sum(m.tokens for m in request.missed) == request.prompt - request.recorded
    came = list(arrivals(log))
    assert [r.number for r, _ in came] == sorted(r.number for r in requests)
    assert [len(key.tokens) // 8 for _, key in came] == [r.prompt for r, _ in came]


def test_keys_share_what_prompts_shared(tmp_path: Path) -> None:
    records: list[Record] = []
    load = Load(records.append)
    prompts = [[1] * 9, [1] * 4 + [2] * 9, [1] * 9, [2] * 9]
    spaces = [b"", b"", b"x", b"x"]
    for i, (prompt, space) in enumerate(zip(prompts, spaces, strict=True)):
        load.request(str(i), prompt, space)
    write_log(tmp_path / "log", records)
    one, two, three, four = (key for _, key in arrivals(Log(tmp_path / "log")))
    assert one.tokens[:32] == two.tokens[:32]
    assert one.tokens[32:64] != two.tokens[32:64]
    assert one.namespace == b""
    assert three.namespace == four.namespace != b""
    assert three.tokens[:32] != one.tokens[:32]  # the namespace is in the hash
    assert [len(k.tokens) for k in (one, two, three, four)] == [72, 104, 72, 72]


def test_as_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "log"
    recorded(path, 50)
    trace = RecordedTrace(path)
    once, again = list(trace.requests()), list(trace.requests())
    assert once == again
    assert len(once) == 50
    assert once[0].at == 0.0
    assert all(a.at <= b.at for a, b in itertools.pairwise(once))
    assert {request.output for request in once} == {3}
    assert (trace.format, trace.block_tokens) == ("cachepawl", 4)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:5]))
    with pytest.raises(InputError, match="no request of this recording came to its end"):
        list(RecordedTrace(path).requests())


def test_the_report_of_a_rerun(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "log"
    path.write_text("".join(lines))
    report = exact_report(path)
    asked = report.data["requests"]
    assert asked["ended"] == 30
    assert asked["hit_tokens_recorded"] == asked["hit_tokens_rerun"] > 0
    assert asked["with_another_hit"] == asked["with_unknown_hit"] == 0
    assert sum(asked["missed_tokens"].values()) == (
        asked["prompt_tokens"] - asked["hit_tokens_recorded"]
    )
    assert report.data["rerun"]["divergence"] is None
    text = to_markdown(report.document)
    assert "Every recorded call was run again." in text
    assert "The recording was closed." in text
    json.loads(to_json(report.data))

    path.write_text("".join(change(lines, "match", put(4, 999))))
    report = exact_report(path)
    assert report.data["rerun"]["divergence"]["verb"] == "match"
    assert "The re-run differs from the recording." in to_markdown(report.document)

    assert is_recording(path)
    other = tmp_path / "other"
    for content in ("", "{}\n", '{"timestamp": 1}\n'):
        other.write_text(content)
        assert not is_recording(other)
    assert not is_recording(tmp_path / "missing")


def test_a_request_that_never_ends_holds_up_nobody_for_ever(tmp_path: Path) -> None:
    records: list[Record] = []
    load = Load(records.append)
    load.cache.match(Key(array("q", [1, 2, 3, 4, 5]).tobytes()))
    load.cache.note_asked("gone", 5, 0, None, [])
    for i in range(MOST_OPEN + 5):
        load.request(f"r{i}", [1, 2, 3])
    write_log(tmp_path / "log", records)
    seen = 0
    log = Log(tmp_path / "log")
    for _ in arrivals(log):
        seen += 1
    assert seen == MOST_OPEN + 5


def test_run_to_a_point(tmp_path: Path) -> None:
    path = tmp_path / "log"
    recorded(path, 20)
    log = Log(path)
    whole, entries = rerun_of(path), list(log.entries())
    for at in (0, 33, 70):
        here = run_to(log, call=at)
        assert here.made == sum(entry.verb in CALLS for entry in entries[: at + 1])
        assert here.cache is not None
        here.cache.check(2)
    assert run_to(log).made == run_to(log, seconds=1e9).made == whole.made
    middle = entries[60].at
    first = next(i for i, entry in enumerate(entries) if entry.at >= middle)
    assert run_to(log, seconds=middle).made == run_to(log, call=first).made


def test_points_where_nothing_is_known(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "log"
    path.write_text("".join([*lines[:40], '["gap",0,7]\n', *lines[40:-1]]))
    with pytest.raises(InputError, match=r"log:\d+: the cache's state is not known here"):
        run_to(Log(path))
    path.write_text("".join(change(lines, "match", put(4, 999))))
    with pytest.raises(InputError, match=r"log:\d+: call 0, match: recorded 999, "):
        run_to(Log(path))


def test_a_gap_parts_what_does_not_belong_together(tmp_path: Path) -> None:
    """The match that was asked for is lost: its note is not that of the match before."""
    records: list[Record] = []
    load = Load(records.append)
    load.request("one", [1] * 9)
    load.request("two", [2] * 13)
    second = [i for i, record in enumerate(records) if record[0] == "match"][1]
    records[second] = ("gap", records[second][1], 1)
    write_log(tmp_path / "log", records)
    (only,) = requests_of(Rerun(Log(tmp_path / "log")))
    assert only.prompt == 9


def test_without_its_first_part(tmp_path: Path) -> None:
    """Requests can be read; a re-run begins at the first reset."""
    path = tmp_path / "log"
    load = recorded(path, 120, part_bytes=4000)
    whole = list(requests_of(Rerun(Log(path))))
    second = tmp_path / "log.1"
    path.unlink()
    rerun = Rerun(Log(second))
    rest = list(requests_of(rerun))
    assert rerun.log.complete
    assert rerun.divergence is None
    assert rerun.skipped > 0
    assert rerun.made > 0
    assert [r.ordinal for r in rest] == list(range(1, len(rest) + 1))
    assert [r._replace(ordinal=0, hit=None, place=None, whole=None) for r in rest] == [
        r._replace(ordinal=0, hit=None, place=None, whole=None) for r in whole[-len(rest) :]
    ]
    assert {r.hit is None for r in rest} == {True, False}
    assert all(r.hit in (None, r.recorded) for r in rest)
    assert rerun.cache is not None
    again = rerun.cache.stats()
    sizes = ("frames_free", "pages_in_use", "tree_nodes", "full_evictable_tokens", "rows")
    assert {k: again[k] for k in sizes} == {k: load.cache.stats()[k] for k in sizes}


def test_a_part_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    recorded(path, 120, part_bytes=4000)
    (tmp_path / "log.2").rename(tmp_path / "log.9")
    (tmp_path / "log.3").rename(tmp_path / "log.2")
    with pytest.raises(InputError, match=r"log\.2:1: part 3 of this recording, but part 2"):
        rerun_of(path)


def change(lines: list[str], verb: str, edit: Callable[[list[Any]], None]) -> list[str]:
    """The first line of a verb, changed."""
    out = list(lines)
    for at, line in enumerate(out[1:], 1):
        value = json.loads(line)
        if value[0] == verb:
            edit(value)
            out[at] = json.dumps(value) + "\n"
            return out
    raise AssertionError(verb)


def put(at: int, new: Any) -> Callable[[list[Any]], None]:
    def edit(value: list[Any]) -> None:
        value[at] = new

    return edit


@pytest.mark.parametrize(
    ("verb", "at", "new", "said"),
    [
        ("match", 0, "mach", "mach: no such line"),
        ("match", 0, 7, "an array that begins with a verb"),
        ("match", 1, -1, "match: the second field is milliseconds"),
        ("match", 1, 1.5, "match: the second field is milliseconds"),
        ("match", 2, [99, 0, 0], "match: field 3, key: segment 99 was never given"),
        ("match", 2, [0, 5, 0], r"match: field 3, key: 5 pages: segment 0 has \[0, 0\]"),
        ("match", 2, [0, 0, 4], "match: field 3, key: 4 tokens beyond pages of 4"),
        ("match", 2, [0, 0], "match: field 3, key: 2 numbers, not segment, pages, rest"),
        ("match", 4, None, "match: field 5, integer: 'None'"),
        ("match", 4, True, "match: field 5, integer: 'True'"),
        ("match", 4, 2**60, "match: field 5, integer: "),
        ("publish", 7, 1, "publish: field 8, boolean: '1'"),
        ("free_states", 2, None, "free_states: field 3, integers: 'None' is not an array"),
        ("next_pages", 2, None, "next_pages: field 3, rows: null, and no rows before it"),
        ("asked", 2, None, "asked: field 3, name: 'None' is not a text"),
        ("asked", 6, [["bad luck", 1, 1, None, ""]], "no such reason: 'bad luck'"),
        ("asked", 6, [[[], 1, 1, None, ""]], "asked: field 7, misses: "),
        ("asked", 6, [[1]], "arrays of reason, tokens, depth, age, policy"),
        ("seg", 4, "AAA", "seg: 'AAA' is not base64"),
        ("seg", 4, "AAAA", "seg: 3 bytes of hashes of 6 bytes each"),
        ("seg", 2, 9, "seg: segment 9 was never given"),
        ("seg", 3, 2, "seg: page 2: segment 0 has"),
        ("seg", 1, 0, "seg: segment 0 is there already"),
    ],
)
def test_damaged_lines_are_named(
    tmp_path: Path, lines: list[str], verb: str, at: int, new: Any, said: str
) -> None:
    path = tmp_path / "log"
    path.write_text("".join(change(lines, verb, put(at, new))))
    with pytest.raises(InputError, match=rf"log:\d+: .*{said}") as error:
        rerun_of(path)
    assert "\n" not in str(error.value)


def header(lines: list[str], **changes: Any) -> str:
    value = json.loads(lines[0])
    for name, new in changes.items():
        *path, last = name.split("__")
        inner = value
        for step in path:
            inner = inner[step]
        inner[last] = new
    return json.dumps(value) + "\n"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "other"}, "format 'other', not 'cachepawl-trace'"),
        ({"version": 2}, "version 2; this cachepawl reads 1"),
        ({"policy": "fifo"}, "field policy 'fifo'"),
        ({"geometry__page_tokens": 0}, "field geometry.page_tokens '0'"),
        ({"geometry__page_tokens": "4"}, "field geometry.page_tokens '4'"),
        ({"geometry__num_frames": 10**9}, "field geometry.num_frames '1000000000'"),
        ({"geometry__kv__heads": 3.5}, "field geometry.kv.heads '3.5'"),
        ({"geometry__kv__itemsize": 1, "geometry__kv__head_dim": 3}, "geometry: a K row is"),
        ({"states_per_request": -1}, "field states_per_request '-1'"),
        ({"more": 1}, "field more '1'"),
        ({"serving": []}, "field serving"),
    ],
)
def test_damaged_headers_are_named(
    tmp_path: Path, lines: list[str], changes: dict[str, Any], said: str
) -> None:
    path = tmp_path / "log"
    path.write_text(header(lines, **changes) + lines[1])
    with pytest.raises(InputError, match=f"log:1: .*{said}") as error:
        Log(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"{}", b"[]\n", b"\xff\xfe", b"\x1f\x8b", b"null"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.raises(InputError, match="log"):
        Log(path)


def test_another_answer_is_a_divergence(tmp_path: Path, lines: list[str]) -> None:
    """The first one is named, and nothing behind it is compared."""
    path = tmp_path / "log"
    for verb, at in (("match", 4), ("publish", 6), ("allocate", 4), ("sizes", 2)):
        new = [1, 2, 3] if verb in ("allocate", "sizes") else 999
        path.write_text("".join(change(lines, verb, put(at, new))))
        rerun = rerun_of(path)
        assert rerun.divergence is not None
        assert rerun.divergence.verb == verb
        assert rerun.divergence.where.startswith(f"{path}:")
        assert "recorded" in str(rerun.divergence)
        requests = list(requests_of(Rerun(Log(path))))
        assert len(requests) == 30  # they are read all the same


@pytest.mark.parametrize("cut", [1, 20, 400, 3000])
@pytest.mark.parametrize("packed", [False, True])
def test_a_log_that_was_cut_off_is_read_up_to_there(
    tmp_path: Path, lines: list[str], cut: int, packed: bool
) -> None:
    path = tmp_path / "log"
    raw = "".join(lines).encode()
    whole = gzip.compress(raw, mtime=0) if packed else raw
    path.write_bytes(whole[:-cut])
    rerun = rerun_of(path)
    assert rerun.log.complete == (packed and cut == 1)  # all but the checksum is there
    assert rerun.divergence is None
    assert rerun.made > 0


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 10**9), st.integers(1, 4))
def test_mutated_bytes(lines: list[str], seed: int, times: int) -> None:
    """Refused in one line, or read; whatever the calls ask for then, the re-run stays calm."""
    draw = random.Random(seed)
    raw = bytearray("".join(lines).encode())
    for _ in range(times):
        at = draw.randrange(len(lines[0]) if draw.random() < 0.1 else 0, len(raw))
        kind = draw.randrange(3)
        if kind == 0:
            raw[at] = draw.randrange(256)
        elif kind == 1:
            raw[at:at] = bytes(draw.choice(b'0123456789,[]"-n') for _ in range(draw.randrange(3)))
        else:
            del raw[at : at + draw.randrange(1, 30)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.write_bytes(bytes(raw))
        rerun, requests, refused = None, [], ""
        try:
            rerun = Rerun(Log(path))
            requests = list(requests_of(rerun))
        except InputError as error:
            refused = str(error)
    assert "\n" not in refused
    if rerun is not None and not refused:
        assert rerun.divergence is not None or all(r.hit in (None, r.recorded) for r in requests)
