"""What must hold of the tables of `joint`, counted again from the tree and from the spells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cachepawl.policy.joint.ages import LEVELS, level_of
from cachepawl.policy.joint.sites import MARK_BYTES, Site
from cachepawl.policy.joint.units import Unit, is_unit
from cachepawl.tree import RadixTree

if TYPE_CHECKING:
    from cachepawl.policy.joint.policy import Joint


def violations(policy: Joint, tree: RadixTree) -> list[str]:
    """One line for everything that is wrong.  Cost: the tree, the sites and the spells."""
    return [
        *_units(policy, tree),
        *_queues(policy),
        *_sites(policy),
        *_tables(policy),
    ]


def _units(policy: Joint, tree: RadixTree) -> Iterator[str]:
    for unit in policy.units:
        node = unit.node
        if (
            policy.units.get(node) is not unit
            or node.owner is not tree.root
            or not is_unit(tree, node)
        ):
            yield f"{node!r} is a unit of the policy, and none in the tree"
    for node in tree.walk():
        if tree.has_states and is_unit(tree, node) and policy.units.get(node) is None:
            yield f"{node!r} is a unit that the policy does not know"
    for unit in policy.units:
        if len(unit.sites) > policy.most_claims:
            yield f"{unit.node!r} carries {len(unit.sites)} sites"
        for site in unit.sites:
            if site.carriers[policy.place] is not unit:
                yield f"{unit.node!r} carries {site!r}, which says otherwise"


def _queues(policy: Joint) -> Iterator[str]:
    queued = set()
    for queue, name in ((policy.leaves, "leaves"), (policy.inner, "inner nodes")):
        for unit in queue:
            queued.add(id(unit))
            known = policy.units.get(unit.node) is unit
            if not known or unit.rank is None or unit.rank.queue is not queue:
                yield f"{unit.node!r} is in a queue of {name}"
    for unit in policy.units:
        if unit.rank is not None and id(unit) not in queued:
            yield f"{unit.node!r} has rank {unit.rank.number} and does not stand there"
        if unit.rank is None and not _locked(unit) and policy.settled:
            yield f"{unit.node!r} could go and is in no queue"


def _locked(unit: Unit) -> bool:
    node = unit.node
    if node.state is not None and (node.children or node.full_lock):
        return bool(node.state_lock)
    return bool(node.children) or bool(node.full_lock)


def _sites(policy: Joint) -> Iterator[str]:
    marks = 0
    for site in policy.requests.sites:
        marks += len(site.edge) // MARK_BYTES
        parent = site.parent
        if parent is None or parent.children.get(site.hook) is not site:
            yield f"{site!r} does not hang on its parent"
        elif site.end - parent.end != len(site.edge) // MARK_BYTES or not site.edge:
            yield f"{site!r} has an edge of {len(site.edge)} bytes"
        yield from _carried(policy, site)
        if site.answer is not None:
            yield from _carried(policy, site.answer)
    if marks != policy.requests.sites.marks:
        yield f"{policy.requests.sites.marks} marks are counted, {marks} found"


def _carried(policy: Joint, site: Site) -> Iterator[str]:
    unit = site.carriers[policy.place]
    if unit is not None and (policy.units.get(unit.node) is not unit or site not in unit.sites):
        yield f"{site!r} says that {unit.node!r} carries it"


def _tables(policy: Joint) -> Iterator[str]:
    counted: dict[tuple[int, ...], tuple[list[int], list[int]]] = {}
    for spell in policy.requests.spells.remembered(policy.requests.now):
        if spell.ended and spell.level != level_of(spell.age):
            yield f"a spell of {spell.age} ms ended in level {spell.level}"
        there, ended = counted.setdefault(spell.table.key, ([0] * LEVELS, [0] * LEVELS))
        there[spell.level] += 1
        ended[spell.level] += spell.ended
    for table in policy.requests.classes.tables.values():
        if table.parent is not None:
            total = counted.setdefault(table.parent.key, ([0] * LEVELS, [0] * LEVELS))
            for sums, told in zip(total, table.told, strict=True):
                sums[:] = [a + b for a, b in zip(sums, told, strict=True)]
    for key, table in policy.requests.classes.tables.items():
        zero = [0] * LEVELS, [0] * LEVELS
        if (table.there, table.ended) != counted.get(key, zero):
            yield f"class {key} counts {table.there} and {table.ended}: {counted.get(key)}"
