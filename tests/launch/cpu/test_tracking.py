"""Snapshots in decode: which rows are copied, and that nothing else moves."""

from collections.abc import Callable

import torch

from cachepawl_launch.cpu.tracking import (
    track_mamba_states_all_layers,
    track_mamba_states_if_needed,
)

Draw = Callable[..., torch.Tensor]
SOURCES, TARGETS = [1, 2, 3, -1, 4, 5], [7, 8, 9, 6, -1, 10]
MASK = [True, False, True, True, True, True]
BATCH = 5  # the last row is beyond the batch
COPIED = {1: 7, 3: 9}


def arguments() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    return (
        torch.tensor(SOURCES, dtype=torch.int32),
        torch.tensor(MASK),
        torch.tensor(TARGETS),
        BATCH,
    )


def expected(before: torch.Tensor) -> torch.Tensor:
    after = before.clone()
    for source, target in COPIED.items():
        after[target] = before[source]
    return after


def test_one_layer(make_pool: Draw) -> None:
    conv, ssm = make_pool(11, 4, 3), make_pool(11, 2, 3, 5)
    want = expected(conv), expected(ssm)
    track_mamba_states_if_needed(conv, ssm, *arguments())
    assert torch.equal(conv, want[0])
    assert torch.equal(ssm, want[1])


def test_all_layers_is_each_layer(make_pool: Draw) -> None:
    # Slot-major storage seen layer-first, as a row that holds every layer's state.
    conv, ssm = make_pool(11, 3, 4, 3).transpose(0, 1), make_pool(11, 3, 2, 5).transpose(0, 1)
    want = [expected(layer) for layer in conv], [expected(layer) for layer in ssm]
    track_mamba_states_all_layers(conv, ssm, *arguments())
    assert torch.equal(conv, torch.stack(want[0]))
    assert torch.equal(ssm, torch.stack(want[1]))


def test_nothing_tracked_changes_nothing(make_pool: Draw) -> None:
    conv, ssm = make_pool(11, 4, 3), make_pool(11, 2)
    before = conv.clone(), ssm.clone()
    sources, mask, targets, batch = arguments()
    track_mamba_states_if_needed(conv, ssm, sources, torch.zeros_like(mask), targets, batch)
    assert torch.equal(conv, before[0])
    assert torch.equal(ssm, before[1])
