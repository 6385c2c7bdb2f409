"""A rule about flags that do not go together, and the check made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cachepawl.offline.sglang.findings.case import Case
from cachepawl.offline.sglang.findings.finding import Change, Finding, Severity
from cachepawl.offline.sglang.flags import ServerFlags, flag_name


class Rule(NamedTuple):
    """`fields` are the flags it is about: `when` is asked if one of the first was given.

    `example` is a command line on which the rule speaks (with a model that keeps states,
    unless it says otherwise).
    """

    name: str
    fields: tuple[str, ...]
    when: Callable[[Case], bool]
    says: str
    change: Change
    source: str
    example: str


def finding_of(rule: Rule, case: Case, id: str, title: str, severity: Severity) -> Finding | None:
    """The rule's finding when it applies."""
    if not rule.when(case):
        return None
    told = [n for n in rule.fields if getattr(case.flags, n) != getattr(ServerFlags, n)]
    values = {flag_name(n): _shown(getattr(case.flags, n)) for n in told or rule.fields}
    arithmetic = ", ".join(f"{flag} = {value}" for flag, value in values.items())
    remedy = "set the flag that decides" if rule.change.to else "leave out what has no effect"
    return Finding(
        id,
        f"{title}: {rule.name}",
        severity,
        f"{rule.says} ({rule.source})",
        values,
        arithmetic,
        remedy,
        (rule.change,),
    )


def _shown(value: object) -> int | float | str:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def given(case: Case, *names: str) -> bool:
    """Whether one of the flags was set by whoever started the server."""
    return not case.flags.given.isdisjoint(names)
