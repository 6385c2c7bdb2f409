"""Where the cache lives: a GPU, or a number of bytes that is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cachepawl.errors import InputError
from cachepawl.offline.models import Model, Weights
from cachepawl.offline.plan.gpus import find_gpu
from cachepawl.offline.sglang.flags import ServerFlags
from cachepawl.offline.sglang.memory.budget import GIB, Budget, estimated_budget, rest_budget


class Place(NamedTuple):
    """One choice of memory.  `total` is a GPU's bytes, or None where `rest` is what is left."""

    name: str
    total: int | None
    rest: float | None


def make_places(
    gpus: Sequence[str], gpu_gb: Sequence[float], rest_gb: Sequence[float]
) -> list[Place]:
    """Every place that options name; InputError when there is none."""
    places = [Place(gpu.name, gpu.bytes, None) for gpu in map(find_gpu, gpus)]
    places += [Place(f"{gb:g} GiB GPU", int(gb * GIB), None) for gb in gpu_gb]
    places += [Place(f"{gb:g} GiB left", None, gb * GIB) for gb in rest_gb]
    if not places:
        raise InputError("no memory given: use --gpu, --gpu-gb or --rest-gb")
    return places


def budget_of(
    place: Place, model: Model, flags: ServerFlags, weights_gb: float | None
) -> tuple[Budget, Weights | None]:
    """One rank's budget, and the weights that were taken off.

    InputError when a GPU is named and the weights are not known; DoesNotFit when they leave
    nothing.
    """
    if place.rest is not None:
        return rest_budget(place.rest, "as given"), None
    weights = model.weights
    if weights_gb is not None:
        weights = Weights(int(weights_gb * GIB), "as given")
    if weights is None:
        raise InputError(
            f"{model.name}: neither a checkpoint's files nor its name says how large the weights "
            f"are; give --weights-gb, or --rest-gb instead of a GPU"
        )
    assert place.total is not None
    ranks = flags.tp_size * flags.pp_size
    return estimated_budget(flags, place.total, -(-weights.bytes // ranks)), weights
