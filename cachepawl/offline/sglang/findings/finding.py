"""A finding: a hazard of a configuration, with its rule, its numbers and its remedy."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

DOCS = "docs/findings.md"


class Severity(IntEnum):
    """How bad: `INFO` costs something, `WARNING` costs much, `ERROR` does not work."""

    INFO = 1
    WARNING = 2
    ERROR = 3

    @property
    def label(self) -> str:
        return self.name.lower()


class Change(NamedTuple):
    """A flag and what to set it to: empty for a flag to drop, "on" for a switch."""

    flag: str
    to: str

    def __str__(self) -> str:
        if not self.to:
            return f"drop {self.flag}"
        return f"add {self.flag}" if self.to == "on" else f"{self.flag} {self.to}"


class Finding(NamedTuple):
    """`numbers` are the rule's terms by name; `arithmetic` shows them plugged in."""

    id: str
    title: str
    severity: Severity
    rule: str
    numbers: Mapping[str, int | float | str]
    arithmetic: str
    remedy: str
    changes: tuple[Change, ...] = ()

    @property
    def link(self) -> str:
        """Where the finding is explained."""
        return f"{DOCS}#{self.id.lower()}"


class NotChecked(NamedTuple):
    """A check that lacks a value; `needs` says what would give it."""

    id: str
    title: str
    needs: str
