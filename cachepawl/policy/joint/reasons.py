"""Why a unit went, in words."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from cachepawl.policy.joint.sites import Site
from cachepawl.policy.joint.units import Unit

if TYPE_CHECKING:
    from cachepawl.policy.joint.policy import Joint

KINDS = ("prompt's end", "fork", "answer's end")
GIB = 1 << 30


def why(policy: Joint, unit: Unit) -> str:
    """Its score in tokens a GiB and second, the next rival's, and the sites that it carries."""
    score = policy.worth(unit) * GIB
    rivals = [
        policy.worth(rival) * GIB
        for queue in (policy.leaves, policy.inner)
        for rival in islice(queue, 2)
        if rival is not unit
    ]
    against = f", the next {min(rivals):.3g}" if rivals else ""
    sites = (
        "; ".join(_told(policy, site) for site in unit.sites) or "no prompt ended or parted here"
    )
    return f"score {score:.3g}{against}: {sites}"


def _uses(site: Site) -> float:
    return site.table.rates[site.step]


def _told(policy: Joint, site: Site) -> str:
    traits = site.traits
    idle = (policy.requests.now - site.last) / 1000
    return (
        f"{KINDS[traits.kind]} at {traits.depth}, turn {traits.turn}, used {site.uses} times, "
        f"idle {idle:.1f} s: {_uses(site):.2g} uses a second"
    )
