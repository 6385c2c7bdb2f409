"""Snapshots of running states during decode: copy a request's state to its track slot."""

import torch


def _tracked(
    cache_indices: torch.Tensor,
    mask: torch.Tensor,
    track_indices: torch.Tensor,
    batch_size: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Source and destination slots of the masked rows; freed slots (negative) are left out."""
    source = cache_indices[:batch_size].long()
    target = track_indices[:batch_size].long()
    rows = mask[:batch_size].bool() & (source >= 0) & (target >= 0)
    return source[rows], target[rows]


def track_mamba_states_if_needed(
    conv_states: torch.Tensor,
    ssm_states: torch.Tensor,
    cache_indices: torch.Tensor,
    mamba_track_mask: torch.Tensor,
    mamba_track_indices: torch.Tensor,
    batch_size: int,
    check_freed_slots: bool = False,
) -> None:
    """Copy one layer's states of the masked rows to their track slots.

    Args:
        conv_states, ssm_states: ``(slots, ...)``, any strides; written in place.
        cache_indices, mamba_track_indices: ``(>= batch_size,)`` source and target slots.
        mamba_track_mask: ``(>= batch_size,)`` bool, the rows to copy.
        batch_size: Rows that count.
        check_freed_slots: Without effect: rows with a negative slot are always skipped.
    """
    source, target = _tracked(cache_indices, mamba_track_mask, mamba_track_indices, batch_size)
    if source.numel():
        conv_states[target] = conv_states[source]
        ssm_states[target] = ssm_states[source]


def track_mamba_states_all_layers(
    conv_states_pool: torch.Tensor,
    ssm_states_pool: torch.Tensor,
    cache_indices: torch.Tensor,
    mamba_track_mask: torch.Tensor,
    mamba_track_indices: torch.Tensor,
    batch_size: int,
    check_freed_slots: bool = False,
) -> None:
    """`track_mamba_states_if_needed` for pools of ``(layers, slots, ...)``, all layers at once."""
    source, target = _tracked(cache_indices, mamba_track_mask, mamba_track_indices, batch_size)
    if source.numel():
        conv_states_pool[:, target] = conv_states_pool[:, source]
        ssm_states_pool[:, target] = ssm_states_pool[:, source]
