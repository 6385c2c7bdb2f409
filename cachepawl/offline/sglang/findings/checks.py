"""All checks, and running them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from cachepawl.offline.sglang.findings import depth, host, pools, states, usage
from cachepawl.offline.sglang.findings.case import Case
from cachepawl.offline.sglang.findings.finding import Finding, NotChecked, Severity
from cachepawl.offline.sglang.findings.inert import INERT
from cachepawl.offline.sglang.findings.refused import REFUSED, does_not_fit
from cachepawl.offline.sglang.findings.rules import finding_of
from cachepawl.offline.sglang.inputs.facts import Missing


class Check(NamedTuple):
    """A hazard and the function that looks for it; the function raises Missing."""

    id: str
    title: str
    look: Callable[[Case], Finding | None]


class Verdict(NamedTuple):
    """What all checks found, worst first, what they found fine and what they could not tell."""

    findings: tuple[Finding, ...]
    fine: tuple[Check, ...]
    not_checked: tuple[NotChecked, ...]

    @property
    def worst(self) -> Severity | None:
        return max((f.severity for f in self.findings), default=None)


_INERT_TITLE = "Flags that do nothing together"
_REFUSED_TITLE = "SGLang does not start"
CHECKS = (
    Check("H1", "States run out before KV", states.states_before_kv),
    Check("H2", "Running requests take the state slots", states.held_by_running),
    Check("H3", "Host states run out before host KV", host.states_before_host_kv),
    Check("H4", "Prompts are shorter than what can be cached", depth.cache_is_inert),
    Check("H5", "The ratio does not fit the context", pools.ratio_against_context),
    Check("H6", "Requests are capped by state slots", states.capped_by_states),
    Check("H7", "Answers that leave no state are computed again", depth.answers_not_cached),
    Check("H8", "Unified memory's host demand", host.unified_host_demand),
    *(
        Check(
            "H9",
            f"{_INERT_TITLE}: {rule.name}",
            partial(finding_of, rule, id="H9", title=_INERT_TITLE, severity=Severity.WARNING),
        )
        for rule in INERT
    ),
    Check("H10", "token_usage hides the starved kind", usage.usage_hides_kind),
    Check("H11", "Host memory is taken once a rank", host.host_over_ranks),
    Check("H12", "Frame padding above 2 %", pools.frame_padding),
    *(
        Check(
            "H13",
            f"{_REFUSED_TITLE}: {rule.name}",
            partial(finding_of, rule, id="H13", title=_REFUSED_TITLE, severity=Severity.ERROR),
        )
        for rule in REFUSED
    ),
    Check("H13", f"{_REFUSED_TITLE}: ranks or memory", does_not_fit),
    Check("H14", "Prefill chunks off the snapshot grid", depth.chunk_below_grid),
    Check("H15", "States of draft tokens", pools.states_of_drafts),
    Check("H16", "Repeated prompts that end on the grid", depth.prompt_on_grid),
)


def verdict_of(case: Case) -> Verdict:
    """Every check's answer."""
    findings, fine, unknown = list[Finding](), list[Check](), list[NotChecked]()
    for check in CHECKS:
        try:
            found = check.look(case)
        except Missing as missing:
            unknown.append(NotChecked(check.id, check.title, str(missing)))
            continue
        if found is None:
            fine.append(check)
        else:
            findings.append(found)
    findings.sort(key=lambda f: -f.severity)
    return Verdict(tuple(findings), tuple(fine), tuple(unknown))
