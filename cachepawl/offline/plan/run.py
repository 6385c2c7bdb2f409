"""From options to comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cachepawl.errors import InputError
from cachepawl.offline.models import Model
from cachepawl.offline.plan.compare import Ask, Comparison, compare
from cachepawl.offline.plan.places import Place
from cachepawl.offline.sglang.flags import ServerFlags

MOST_COMPARISONS = 400


def comparisons(models: Sequence[Model], places: Sequence[Place], ask: Ask) -> Iterator[Comparison]:
    """Every model at every place, in order; InputError when that is more than a page holds."""
    if len(models) * len(places) * len(ask.workloads) > MOST_COMPARISONS:
        raise InputError(
            f"{len(models)} models, {len(places)} places and {len(ask.workloads)} contexts are "
            f"more than {MOST_COMPARISONS} comparisons; ask for fewer at a time"
        )
    for model in models:
        mine = ask._replace(flags=_with_context(ask.flags, model))
        for place in places:
            yield compare(model, place, mine)


def _with_context(flags: ServerFlags, model: Model) -> ServerFlags:
    """The model's own context length, where the flags give none."""
    return replace(flags, context_length=flags.context_length or model.context)
