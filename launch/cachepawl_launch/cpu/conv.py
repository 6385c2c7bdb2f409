"""Causal depthwise convolution over a window of past inputs kept per request.

A state slot holds the last ``width - 1`` inputs, oldest first:

    window:  [ state (width-1) | inputs of this call (n) ]
    output t = sum over k of window[t + k] * weight[k]
    new state = last width-1 columns of the window
"""

import torch
from torch.nn.functional import silu

from cachepawl_launch.cpu.unsupported import reject

PAD_SLOT = -1


def _activated(y: torch.Tensor, activation: bool | str | None) -> torch.Tensor:
    if activation is None or activation is False:
        return y
    if activation is True or activation in ("silu", "swish"):
        return silu(y)
    raise NotImplementedError(f"activation {activation!r}: only None, 'silu' and 'swish'")


def _check_state(state: torch.Tensor, width: int) -> None:
    if state.shape[-1] != width - 1:
        raise NotImplementedError(
            f"a convolution of width {width} keeps {width - 1} inputs, "
            f"the state has room for {state.shape[-1]}"
        )


def _taps(window: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Convolve ``(..., dim, width - 1 + n)`` to ``(..., dim, n)``, always in tap order."""
    width = weight.shape[1]
    n = window.shape[-1] - width + 1
    y = window[..., :n] * weight[:, 0:1]
    for k in range(1, width):
        y.addcmul_(window[..., k : k + n], weight[:, k : k + 1])
    return y if bias is None else y.add_(bias[:, None])


def causal_conv1d_fn(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    conv_states: torch.Tensor | None = None,
    query_start_loc: torch.Tensor | None = None,
    seq_lens_cpu: object = None,
    cache_indices: torch.Tensor | None = None,
    has_initial_state: torch.Tensor | None = None,
    activation: bool | str | None = "silu",
    pad_slot_id: int = PAD_SLOT,
    validate_data: bool = False,
    block_table: object = None,
) -> torch.Tensor:
    """Convolve a prefill of several sequences laid end to end.

    Args:
        x: ``(dim, tokens)``. Tokens after ``query_start_loc[-1]`` are padding.
        weight: ``(dim, width)``.
        bias: ``(dim,)``.
        conv_states: ``(slots, dim, width - 1)``, any strides; written in place at each
            sequence's slot. None: start from zeros and keep nothing.
        query_start_loc: ``(sequences + 1,)`` token offsets, first 0. None: one sequence.
        cache_indices: ``(sequences,)`` slot of each sequence. None: slot i for sequence i.
        has_initial_state: ``(sequences,)`` bool; False starts from zeros. None: all False.
        activation: None, ``"silu"`` or ``"swish"``.
        pad_slot_id: Sequences in this slot are skipped and their output is zero.
        seq_lens_cpu, validate_data, block_table: launch hints, without effect here.

    Returns:
        ``(dim, tokens)`` in the dtype of `x`, computed in float32.

    Raises:
        NotImplementedError: another activation, or a state longer than ``width - 1``.
    """
    starts = [0, x.shape[1]] if query_start_loc is None else query_start_loc.tolist()
    count = len(starts) - 1
    slots = list(range(count)) if cache_indices is None else cache_indices.tolist()
    resumes = [False] * count if has_initial_state is None else has_initial_state.tolist()
    if conv_states is not None:
        _check_state(conv_states, weight.shape[1])
    w, b = weight.float(), None if bias is None else bias.float()
    past = weight.shape[1] - 1
    out = torch.zeros_like(x)
    for i in range(count):
        begin, end = starts[i], starts[i + 1]
        if end <= begin or slots[i] == pad_slot_id:
            continue
        if conv_states is not None and resumes[i]:
            head = conv_states[slots[i]].float()
        else:
            head = x.new_zeros((x.shape[0], past), dtype=torch.float32)
        window = torch.cat([head, x[:, begin:end].float()], dim=1)
        out[:, begin:end] = _activated(_taps(window, w, b), activation)
        if conv_states is not None:
            conv_states[slots[i]] = window[:, -past:].to(conv_states.dtype)
    return out


def causal_conv1d_update(
    x: torch.Tensor,
    conv_state: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    activation: bool | str | None = None,
    cache_seqlens: torch.Tensor | None = None,
    conv_state_indices: torch.Tensor | None = None,
    num_accept_tokens: torch.Tensor | None = None,
    intermediate_conv_window: torch.Tensor | None = None,
    intermediate_state_indices: torch.Tensor | None = None,
    retrieve_next_token: torch.Tensor | None = None,
    retrieve_next_sibling: torch.Tensor | None = None,
    retrieve_parent_token: torch.Tensor | None = None,
    pad_slot_id: int = PAD_SLOT,
    metadata: object = None,
    validate_data: bool = False,
) -> torch.Tensor:
    """Convolve one decode step of a batch.

    Args:
        x: ``(batch, dim)`` or ``(batch, dim, n)``: the new inputs of each request.
        conv_state: ``(slots, dim, width - 1)``, any strides; written in place.
        weight: ``(dim, width)``.
        bias: ``(dim,)``.
        activation: None, ``"silu"`` or ``"swish"``.
        conv_state_indices: ``(batch,)`` slot of each row. None: slot i for row i.
        pad_slot_id: Rows in this slot leave every state alone; their output is zero.
        metadata, validate_data: launch hints, without effect here.

    Returns:
        The shape and dtype of `x`, computed in float32.

    Raises:
        NotImplementedError: circular states (`cache_seqlens`), speculative decoding (the
            ``intermediate_*``, ``retrieve_*`` and `num_accept_tokens` arguments), another
            activation, or a state longer than ``width - 1``.
    """
    reject(
        "causal_conv1d_update",
        {
            "cache_seqlens": cache_seqlens,
            "num_accept_tokens": num_accept_tokens,
            "intermediate_conv_window": intermediate_conv_window,
            "intermediate_state_indices": intermediate_state_indices,
            "retrieve_next_token": retrieve_next_token,
            "retrieve_next_sibling": retrieve_next_sibling,
            "retrieve_parent_token": retrieve_parent_token,
        },
    )
    _check_state(conv_state, weight.shape[1])
    if conv_state_indices is None:
        slots = torch.arange(x.shape[0], device=x.device)
    else:
        slots = conv_state_indices.long()
    live = slots != pad_slot_id
    new = x.float() if x.dim() == 3 else x.float().unsqueeze(-1)
    window = torch.cat([conv_state[slots.clamp(min=0)].float(), new], dim=-1)
    y = _taps(window, weight.float(), None if bias is None else bias.float())
    past = weight.shape[1] - 1
    conv_state[slots[live]] = window[live][..., -past:].to(conv_state.dtype)
    y = _activated(y, activation) * live[:, None, None]
    return y.to(x.dtype).view(x.shape)
