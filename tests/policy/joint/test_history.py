"""What was learned survives a restart, and a file that is not one is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cachepawl.errors import ConfigError
from cachepawl.policy.joint import Joint
from cachepawl.policy.joint.classes import END, Classes, Traits
from cachepawl.policy.joint.history import FORMAT, OldSpell, load, save
from cachepawl.policy.joint.spells import Spells

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


GOOD = {"format": FORMAT, "version": 1, "spells": [[[0, 0, 0, 0, 0], 5, 1]]}


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
        (json.dumps({**GOOD, "spells": [[[0, 0, 0, 0], 5, 1], [[0], 5, 1]]}), r"spells\[1\] is"),
        (json.dumps({**GOOD, "spells": [[[0, 0, 0, 0], -5, 1]]}), r"spells\[0\] is"),
        (json.dumps({**GOOD, "spells": [[[0, 0, 0, 0], 5, 2]]}), r"spells\[0\] is"),
        (json.dumps({**GOOD, "spells": [[[0, 0, 0, 99], 5, 1]]}), r"spells\[0\] is"),
        (json.dumps({**GOOD, "spells": [[[0, 0, 0, 0], 5.5, 1]]}), r"spells\[0\] is"),
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
