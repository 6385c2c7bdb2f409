"""What surrounds a gated-delta layer: its packed input projection, and attention's output gate."""

import torch


def fused_qkvzba_split_reshape_cat_contiguous(
    mixed_qkvz: torch.Tensor,
    mixed_ba: torch.Tensor,
    num_heads_qk: int,
    num_heads_v: int,
    head_qk: int,
    head_v: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Unpack the two input projections of a gated-delta layer.

    Args:
        mixed_qkvz: ``(tokens, all q | all k | all v | all z)``.
        mixed_ba: ``(tokens, all b | all a)``, one number per value head.
        num_heads_qk, num_heads_v: Head counts.
        head_qk, head_v: Head widths.

    Returns:
        Contiguous copies: qkv ``(tokens, q | k | v)``, z ``(tokens, num_heads_v, head_v)``,
        b and a ``(tokens, num_heads_v)``.
    """
    qkv_width = 2 * num_heads_qk * head_qk + num_heads_v * head_v
    qkv, z = torch.split(mixed_qkvz, [qkv_width, num_heads_v * head_v], dim=1)
    b, a = torch.split(mixed_ba, num_heads_v, dim=1)
    return (
        qkv.contiguous(),
        z.reshape(-1, num_heads_v, head_v).contiguous(),
        b.contiguous(),
        a.contiguous(),
    )


def fused_sigmoid_mul(
    attn_output: torch.Tensor,
    gate: torch.Tensor,
    inplace: bool = False,
    quant: bool = False,
) -> torch.Tensor:
    """``attn_output * sigmoid(gate)``.

    Args:
        attn_output: ``(tokens, width)``; overwritten and returned when `inplace`.
        gate: The same shape, or ``(tokens, heads, head_dim)``, any strides.

    Raises:
        NotImplementedError: a quantised result (`quant`).
    """
    if quant:
        raise NotImplementedError("fused_sigmoid_mul: no quantised output")
    factor = torch.sigmoid(gate.reshape(attn_output.shape))
    return attn_output.mul_(factor) if inplace else attn_output * factor
