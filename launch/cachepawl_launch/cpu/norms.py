"""Gated RMS norm, over groups of the last dimension."""

import torch
from torch.nn.functional import silu


def _gate(z: torch.Tensor, activation: str) -> torch.Tensor:
    if activation in ("swish", "silu"):
        return silu(z.float())
    if activation == "sigmoid":
        return torch.sigmoid(z.float())
    raise NotImplementedError(f"gate activation {activation!r}: only swish, silu and sigmoid")


def rms_norm_gated(
    *,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    z: torch.Tensor | None = None,
    eps: float = 1e-6,
    group_size: int | None = None,
    norm_before_gate: bool = True,
    is_rms_norm: bool = False,
    activation: str = "swish",
) -> torch.Tensor:
    """``norm(x) * act(z)``, or ``norm(x * act(z))`` when the gate comes first.

    Args:
        x: ``(..., width)``.
        weight, bias: ``(width,)``.
        z: The gate: the shape of x, or ``(tokens, heads, width)`` for x of
            ``(tokens * heads, width)``. None: no gate.
        eps: Added to the mean square.
        group_size: Elements normalised together, a divisor of width. None: all of them.

    Returns:
        The shape and dtype of x, computed in float32.

    Raises:
        NotImplementedError: a norm that subtracts the mean, or another activation.
    """
    if not is_rms_norm:
        raise NotImplementedError("rms_norm_gated: only RMS norm, which keeps the mean")
    gate = None if z is None else _gate(z.reshape(x.shape), activation)
    y = x.float()
    if gate is not None and not norm_before_gate:
        y = y * gate
    grouped = y.reshape(*x.shape[:-1], -1, group_size or x.shape[-1])
    mean_square = grouped.square().mean(-1, keepdim=True)
    y = (grouped * torch.rsqrt(mean_square + eps)).flatten(-2) * weight.float()
    if bias is not None:
        y = y + bias.float()
    if gate is not None and norm_before_gate:
        y = y * gate
    return y.to(x.dtype)
