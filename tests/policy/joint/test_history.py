"""What was learned survives a restart, and a file that is not one is refused by name."""

from __future__ import annotations

import itertools
import json
import sys
import threading
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cachepawl.errors import ConfigError, UnsettledError
from cachepawl.policy.joint import Joint
from cachepawl.policy.joint.classes import END, Classes, Traits
from cachepawl.policy.joint.history import FORMAT, OldSpell, load, save
from cachepawl.policy.joint.spells import Spells
from cachepawl.types import Key

OLD = [OldSpell((0, END, 1, 2, 3), 2500, True), OldSpell((1, END, 0, 1), 70_000, False)]


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "history"
    assert load(path) == []
    save(path, OLD * 500)
    assert load(path) == OLD * 500
    assert list(tmp_path.iterdir()) == [path]


def test_a_policy_goes_on_where_another_ended(tmp_path: Path) -> None:
    policies = Joint(), Joint()
    first, second = (policy.requests for policy in policies)
    table = first.classes.table(Traits(END, 0, None, 5000), 0)
    for i in range(20):
        first.spells.end(first.spells.begin(table, None, i * 3000), i * 3000 + 2500)  # type: ignore[arg-type]
    first.now = 60_000
    save(tmp_path / "history", list(policies[0].learned()))
    policies[1].remember(load(tmp_path / "history"))
    again = second.classes.tables[table.key]
    assert (again.there, again.ended) == (table.there, table.ended)
    # It decides by it from the first request on.
    first.classes.work_all()
    assert again.index == table.index
    assert list(policies[1].learned()) == list(first.learned())
    policies[1].emptied(None)  # type: ignore[arg-type]
    assert second.classes.tables[table.key].ended == table.ended


def test_a_full_history_does_not_hold_up_ages() -> None:
    spells: Spells[str] = Spells(most=64)
    table = Classes().table(Traits(END, 0, None, 5000), 0)
    for _ in range(64):
        spells.add_old(table, 70_000, True)
    spells.begin(table, "new", 100_000)
    assert spells.advance(105_000, most=1) == [("new", 1)]


def asked(policy: Joint, name: int, at: int) -> None:
    policy.requests.began(Key(array("q", [name] * 128).tobytes()), at, None)


class Meddled(array):  # type: ignore[type-arg]
    """A column of spells; something happens right before another thread copies it."""

    meddle: Callable[[], None]

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            self.meddle()
        return super().__getitem__(at)


def meddle(policy: Joint, act: Callable[[], None]) -> None:
    """`act` comes between the copies of the columns."""
    spells = policy.requests.spells
    column = Meddled("q", spells._ages)
    spells._ages = column
    column.meddle = act


def test_a_flush_while_it_is_read(tmp_path: Path) -> None:
    """What is read is all from before it, or all from after it, and can be read back."""
    policy = Joint()
    for name in range(3):
        asked(policy, name, 10_000 + name)

    def flush() -> None:
        policy.emptied(None)  # type: ignore[arg-type]
        asked(policy, 9, 5)
        asked(policy, 9, 7)

    meddle(policy, flush)
    save(tmp_path / "history", policy.learned())
    assert [(s.age, s.ended) for s in load(tmp_path / "history")] == [(2, True), (0, False)]


def test_a_request_while_it_is_read() -> None:
    """A use between two columns: an age without its end, if nobody looked."""
    policy = Joint()
    asked(policy, 1, 10_000)
    once = iter([True])

    def use() -> None:
        if next(once, False):
            asked(policy, 1, 12_000)

    meddle(policy, use)
    assert [(s.age, s.ended) for s in policy.learned()] == [(2000, True), (0, False)]


def test_in_the_midst_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who learns is not waited for for ever."""
    monkeypatch.setattr("cachepawl.policy.joint.requests.NAP", 0)
    policy = Joint()
    walk = policy.requests.sites.walk
    seen = []

    def look(*of: Any) -> Any:
        with pytest.raises(UnsettledError):
            policy.learned()
        seen.append(True)
        return walk(*of)

    monkeypatch.setattr(policy.requests.sites, "walk", look)
    asked(policy, 1, 10_000)
    assert seen
    assert len(list(policy.learned())) == 1


def test_read_by_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses and flushes as fast as they go: every copy is of one moment."""
    monkeypatch.setattr("cachepawl.policy.joint.requests.NAP", 0.0005)
    policy, over = Joint(), threading.Event()

    def learn() -> None:
        at = 0
        while not over.is_set():
            for name in range(40):
                at += 1000
                asked(policy, name % 7, at)
            policy.emptied(None)  # type: ignore[arg-type]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=learn)
    thread.start()
    try:
        read = [list(policy.learned()) for _ in range(30)]
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(interval)
    for spells in read:
        # A prompt is used every seven seconds, and each use begins one spell.
        assert {s.age for s in spells if s.ended} <= {7000, 5000}
        assert sorted(s.age for s in spells if not s.ended) == [
            1000 * i for i in range(min(len(spells), 7))
        ]


def test_a_flush_forgets_what_came_since_the_start(tmp_path: Path) -> None:
    policy = Joint()
    policy.remember(OLD)
    asked(policy, 1, 10_000)
    policy.emptied(None)  # type: ignore[arg-type]
    asked(policy, 2, 20_000)
    save(tmp_path / "history", policy.learned())
    assert load(tmp_path / "history")[:-1] == OLD
    assert len(load(tmp_path / "history")) == len(OLD) + 1


def test_what_cannot_be_is_not_written(tmp_path: Path) -> None:
    bad = [OldSpell((0, 0, 0, 0, 0), -10000, False), OldSpell((9, 9, 9, 9), 5, True)]
    save(tmp_path / "history", [bad[0], OLD[0], bad[1]])
    assert load(tmp_path / "history") == OLD[:1]


def test_every_class_there_is_can_be_read(tmp_path: Path) -> None:
    classes = Classes()
    told = itertools.product(range(3), range(6), (None, 0, 10**9), (0, 10**6))
    every = [
        OldSpell(classes.table(Traits(*traits), uses).key, 5, True)
        for traits in told
        for uses in range(5)
    ]
    save(tmp_path / "history", every)
    assert load(tmp_path / "history") == every


GOOD = {"format": FORMAT, "version": 1, "spells": [[[0, 0, 0, 0, 0], 5, 1]]}


def spells(*rows: Any) -> str:
    return json.dumps({**GOOD, "spells": rows})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no JSON"),
        ("[]", "fields list"),
        (json.dumps({**GOOD, "more": 1}), "fields"),
        (json.dumps({**GOOD, "format": "x"}), "field format is 'x'"),
        (json.dumps({**GOOD, "version": 2}), "field version is 2, not 1"),
        (json.dumps({**GOOD, "version": True}), "field version is True"),
        (json.dumps({**GOOD, "spells": 3}), "field spells is int"),
        (spells([[1, 0, 0, 0], 5, 1], [[0], 5, 1]), r"spells\[1\] is .*: it has 1 integers, not 5"),
        (spells([[1, 0, 0, 0], -5, 1]), r"spells\[0\] is .*: its age is -5, not 0 to"),
        (spells([[1, 0, 0, 0], 5, 2]), r"spells\[0\] is .*: not \[class, age"),
        (spells([[1, 0, 0, 0], 5.5, 1]), r"spells\[0\] is .*: not \[class, age"),
        (spells([[1, 0, 0, True], 5, 1]), r"spells\[0\] is .*: not \[class, age"),
        (
            spells([[9, 9, 9, 9], 5, 1]),
            r"class \[9, 9, 9, 9\] does not exist: its uses is 9, not 0",
        ),
        (spells([[1, 3, 0, 0], 5, 1]), "its kind is 3, not 0 to 2"),
        (spells([[1, 0, 4, 0], 5, 1]), "its turn is 4, not 0 to 3"),
        (spells([[1, 0, 0, -1], 5, 1]), "its depth is -1, not 0 to 3"),
        (spells([[0, 0, 0, 0, 7], 5, 1]), "its gap is 7, not 0 to 6"),
        (spells([[1, 0, 0, 0, 0], 5, 1]), "it has 5 integers, not 4 as what was used"),
        (spells([[0, 0, 0, 0], 5, 1]), "it has 4 integers, not 5 as what was never used"),
        (spells([[], 5, 1]), "it has 0 integers, not 5"),
        ("\udcff", "codec"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "history"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=says) as refused:
        load(path)
    assert str(path) in str(refused.value)
    assert "delete it" in str(refused.value)


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give a path"):
        save(tmp_path / "no" / "history", OLD)
