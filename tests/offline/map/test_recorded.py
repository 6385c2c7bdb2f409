"""A recording at any point of it: the picture that the recorded cache had there."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import pytest
from recorded_load import PAGE, Load, make_plain, write_log

from cachepawl.cli.main import main
from cachepawl.errors import InputError
from cachepawl.observe.snapshot import snapshot
from cachepawl.offline.map.recorded import picture_at
from cachepawl.offline.recorded.log import Log
from cachepawl.offline.recorded.tier_calls import Followed
from cachepawl.offload.tickets import WRITE
from cachepawl.offload.tier import HostTier
from cachepawl.offload.writing.write_through import WriteThrough
from cachepawl.record.recording import Record, RecordingCache
from cachepawl.record.recording_tier import RecordingTier
from cachepawl.record.setup import setup_of
from cachepawl.types import Key

LIMITS = {"nodes": 4, "cells": 6}


class Recorded:
    """A log, and what the cache looked like after every ninth call or note."""

    def __init__(self, path: Path, requests: int = 60, part_bytes: int = 1 << 30) -> None:
        self.path = path
        self.records: list[Record] = []
        self.seen: dict[int, dict[str, Any]] = {}
        self.load = Load(self.put)
        self.load.run(requests)
        write_log(path, self.records, part_bytes=part_bytes)

    def put(self, record: Record) -> None:
        self.records.append(record)
        if len(self.records) % 9 == 0:
            self.seen[len(self.records)] = snapshot(self.load.cache, 4, 6)


def picture(path: Path, **point: Any) -> tuple[dict[str, Any], int]:
    point = {"seconds": None, "operation": None, **point}
    found, done = picture_at(path, advance=lambda _: None, **point, **LIMITS)
    return found.model_dump(), done


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return Recorded(tmp_path_factory.mktemp("map") / "log", part_bytes=6000)


def test_every_point(recorded: Recorded) -> None:
    assert len(recorded.seen) > 50
    assert {drawn["requests"] for drawn in recorded.seen.values()} == {0, 1}
    for operation, drawn in list(recorded.seen.items())[::6]:
        assert picture(recorded.path, operation=operation) == (drawn, operation)


def test_the_ends(recorded: Recorded) -> None:
    drawn, done = picture(recorded.path)
    assert done == len(recorded.records)
    assert drawn == snapshot(recorded.load.cache, 4, 6)
    drawn, done = picture(recorded.path, operation=0)
    assert done == drawn["tree"]["nodes"] == 0


def test_a_time_is_after_all_that_had_happened(recorded: Recorded) -> None:
    times = [entry.at for entry in Log(recorded.path).entries()]
    middle = times[len(times) // 2]
    _, done = picture(recorded.path, seconds=middle)
    assert done == sum(at <= middle for at in times)
    assert picture(recorded.path, seconds=1e9) == picture(recorded.path)


def test_points_that_are_not_there(recorded: Recorded, tmp_path: Path) -> None:
    last = len(recorded.records)
    with pytest.raises(InputError, match=f"ends after {last} operations, {last + 1} are asked"):
        picture(recorded.path, operation=last + 1)
    later = recorded.path.with_name("log.1")
    first = Log(later).header.line
    with pytest.raises(InputError, match=f"begins with operation {first}; name an earlier part"):
        picture(later, operation=3)
    with pytest.raises(InputError, match=f"is not known after operation {first + 1}"):
        picture(later, operation=first + 1)
    # Behind the next reset it is known again.
    reset = next(i for i, r in enumerate(recorded.records) if r[0] == "reset" and i > first)
    operation = min(n for n in recorded.seen if n > reset)
    assert picture(later, operation=operation)[0]["tree"] == recorded.seen[operation]["tree"]


def test_another_answer_ends_it(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path / "log", 20)
    lines = recorded.path.read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.startswith('["take_states"'))
    lines[at] = lines[at].replace("]]", "1]]")
    recorded.path.write_text("".join(lines))
    with pytest.raises(InputError, match="the re-run is not what was recorded"):
        picture(recorded.path)


def test_the_command(recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(recorded.path)
    operation = max(recorded.seen)
    assert main(["map", path, "--at-operation", str(operation)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"# Map of log after {operation:,} operations")
    assert err == ""
    for words in (
        ["--at", "1", "--at-operation", "1"],
        ["--at", "-1"],
        ["--at", "nan"],
        ["--at-operation", "-1"],
        ["--at-operation", "999999"],
        ["--nodes", "0"],
        ["--cells", "5000"],
    ):
        assert main(["map", path, *words]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert words[-2] in err or "999999" in err


def test_both_arenas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A recording of two tiers shows the host's tree and frames too, in every form."""
    device = make_plain(6)
    records: list[Record] = []
    moving = Followed()
    tier = RecordingTier(
        HostTier(device, device.geometry.with_budget(40 * device.geometry.frame_bytes), moving,
                 WriteThrough()),
        records.append,
    )  # fmt: skip
    cache = RecordingCache(device, records.append)
    for name in range(4):
        key = Key(array("q", [name] * 2 * PAGE).tobytes())
        tier.match(key)
        slots = cache.take_states(1)
        cache.open_row(name, cache.tree.root, 0)
        cache.allocate(name, 2 * PAGE)
        tier.published(cache.publish(name, key, 2 * PAGE, slots[0]))
        cache.close_row(name)
        tier.poll()
        moving.end(WRITE, 1, None)
        tier.poll()
    path = tmp_path / "log"
    write_log(path, records, setup=setup_of(cache, {}, tier))
    drawn, _ = picture(path)
    assert drawn["host"] == snapshot(tier.host, 4, 6)
    assert drawn == snapshot(cache, 4, 6, tier.host)
    assert drawn["host"]["tree"]["nodes"] == 4 > drawn["tree"]["nodes"]
    for form in ("markdown", "html", "svg"):
        assert main(["map", str(path), "--format", form]) == 0
        assert "ost" in capsys.readouterr().out
    assert main(["map", str(path), "--format", "json"]) == 0
    saved = tmp_path / "map.json"
    saved.write_text(capsys.readouterr().out)
    assert main(["map", str(saved)]) == 0
    assert "## The host's frames" in capsys.readouterr().out
