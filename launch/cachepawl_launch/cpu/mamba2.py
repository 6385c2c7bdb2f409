"""Mamba-2 (state-space duality, arXiv 2405.21060): the scan of a prefill and the decode step.

Per head, with the state ``S`` of shape ``(head_dim, state)``:

    S_t = exp(dt_t * A) * S_(t-1) + dt_t * x_t B_t^T
    y_t = S_t C_t + D * x_t

The state advances one token at a time, with elementwise operations only, so that where a prefill
is split changes no more than the last bit of a number. Everything outside that recurrence is done
for many tokens at once.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch.nn.functional import softplus

from cachepawl_launch.cpu.unsupported import reject

PAD_SLOT = -1


def _step_size(
    dt: torch.Tensor,
    bias: torch.Tensor | None,
    use_softplus: bool,
    limit: tuple[float, float] = (0.0, float("inf")),
) -> torch.Tensor:
    step = dt.float() if bias is None else dt.float() + bias.float()
    return (softplus(step) if use_softplus else step).clamp(*limit)


def _per_head(grouped: torch.Tensor, heads: int) -> torch.Tensor:
    """Repeat ``(n, groups, state)`` to ``(n, heads, state)``; a group serves adjacent heads."""
    return grouped.float().repeat_interleave(heads // grouped.shape[1], dim=1)


def _skip(x: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """``D * x`` for D of shape ``(heads,)`` or ``(heads, head_dim)``."""
    return x * (d.float()[:, None] if d.dim() == 1 else d.float())


@dataclass(frozen=True)
class _Inputs:
    """Per-token terms of the recurrence, flat over all sequences, in float32."""

    decay: torch.Tensor  # (tokens, heads, 1, 1)
    x_dt: torch.Tensor  # (tokens, heads, head_dim)
    b: torch.Tensor  # (tokens, heads, state)
    c: torch.Tensor  # (tokens, heads, state)

    def advance(
        self, state: torch.Tensor, begin: int, end: int, scratch: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run tokens ``[begin, end)``: the state after each, a view of `scratch`, and y."""
        after = scratch[: end - begin]
        torch.mul(self.x_dt[begin:end, :, :, None], self.b[begin:end, :, None, :], out=after)
        decay = self.decay[begin:end].unbind(0)
        for t, here in enumerate(after.unbind(0)):
            state = here.addcmul_(state, decay[t])
        return after, torch.matmul(after, self.c[begin:end, :, :, None]).squeeze(-1)


def _pieces(begin: int, end: int, grid: int) -> list[tuple[int, int]]:
    """Cut ``[begin, end)`` at the multiples of `grid`; nothing for an empty range."""
    cuts = [begin, *range((begin // grid + 1) * grid, end, grid), end]
    return [(a, b) for a, b in pairwise(cuts) if a < b]


def _wanted(
    seq_idx: torch.Tensor | None, end_locs: torch.Tensor | None
) -> dict[int, list[tuple[int, int]]]:
    """Sequence -> the (output row, flat token offset) pairs at which its state is wanted."""
    by_sequence: dict[int, list[tuple[int, int]]] = {}
    if seq_idx is not None and end_locs is not None:
        pairs = zip(seq_idx.tolist(), end_locs.tolist(), strict=True)
        for row, (seq, end) in enumerate(pairs):
            by_sequence.setdefault(seq, []).append((row, end))
    return by_sequence


def mamba_chunk_scan_combined(
    x: torch.Tensor,
    dt: torch.Tensor,
    A: torch.Tensor,  # noqa: N803
    B: torch.Tensor,  # noqa: N803
    C: torch.Tensor,  # noqa: N803
    chunk_size: int,
    D: torch.Tensor | None = None,  # noqa: N803
    z: torch.Tensor | None = None,
    dt_bias: torch.Tensor | None = None,
    initial_states: torch.Tensor | None = None,
    seq_idx: torch.Tensor | None = None,
    chunk_indices: torch.Tensor | None = None,
    chunk_offsets: torch.Tensor | None = None,
    cu_seqlens: torch.Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    out: torch.Tensor | None = None,
    return_final_states: bool = False,
    return_varlen_states: bool = False,
    return_intermediate_states: bool = False,
    state_dtype: torch.dtype | None = None,
    return_track_states: bool = False,
    track_seq_idx: torch.Tensor | None = None,
    track_end_locs: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Scan a prefill of several sequences laid end to end.

    Args:
        x: ``(1, tokens, heads, head_dim)``.
        dt: ``(1, tokens, heads)``, before bias and softplus.
        A: ``(heads,)``, negative.
        B, C: ``(1, tokens, groups, state)``.
        chunk_size: Grid, in tokens, at which intermediate states are returned.
        D: ``(heads,)`` or ``(heads, head_dim)``.
        dt_bias: ``(heads,)``.
        initial_states: ``(sequences, heads, head_dim, state)``. None: zeros.
        cu_seqlens: ``(sequences + 1,)`` token offsets, first 0, last `tokens`.
        dt_softplus, dt_limit: softplus of dt, then its bounds.
        out: ``(1, tokens, heads, head_dim)``, written.
        state_dtype: Dtype of the returned states; None: that of C.
        track_seq_idx, track_end_locs: ``(n,)`` sequence and flat token offset at which a state
            is wanted; an offset at the sequence's start gives its initial state.
        seq_idx, chunk_indices, chunk_offsets: derived from `cu_seqlens`; not needed here.

    Returns:
        Intermediate states ``(1, ceil(tokens / chunk_size), heads, head_dim, state)``, entry c
        the state entering flat token ``c * chunk_size`` in the sequence that owns that token;
        final states ``(sequences, ...)``; tracked states ``(1, n, ...)`` or None.

    Raises:
        NotImplementedError: gating with `z`, or a form of call other than SGLang's prefill
            (`out`, `cu_seqlens`, `return_varlen_states` and `return_track_states` given).
    """
    reject("mamba_chunk_scan_combined", {"z": z})
    if return_final_states or return_intermediate_states:
        raise NotImplementedError("mamba_chunk_scan_combined: only the return_track_states form")
    if out is None or cu_seqlens is None or not (return_varlen_states and return_track_states):
        raise NotImplementedError(
            "mamba_chunk_scan_combined needs out, cu_seqlens, return_varlen_states and "
            "return_track_states"
        )
    tokens, heads = x.shape[1], x.shape[2]
    state_shape = (heads, x.shape[3], B.shape[3])
    step = _step_size(dt[0], dt_bias, dt_softplus, dt_limit)
    inputs = _Inputs(
        decay=torch.exp(step * A.float())[:, :, None, None],
        x_dt=x[0].float() * step[:, :, None],
        b=_per_head(B[0], heads),
        c=_per_head(C[0], heads),
    )
    starts = cu_seqlens.tolist()
    wanted = _wanted(track_seq_idx, track_end_locs)
    dtype = state_dtype or C.dtype
    grid = x.new_zeros((-(-tokens // chunk_size), *state_shape), dtype=dtype)
    final = x.new_zeros((len(starts) - 1, *state_shape), dtype=dtype)
    tracked = x.new_zeros((sum(map(len, wanted.values())), *state_shape), dtype=dtype)
    y = x.new_zeros((tokens, heads, x.shape[3]), dtype=torch.float32)
    scratch = x.new_empty((min(chunk_size, tokens), *state_shape), dtype=torch.float32)
    for seq, (first, last) in enumerate(pairwise(starts)):
        if initial_states is None:
            state = x.new_zeros(state_shape, dtype=torch.float32)
        else:
            state = initial_states[seq].float()
        for row, end in wanted.get(seq, ()):
            if end <= first:
                tracked[row] = state
        for begin, end in _pieces(first, last, chunk_size):
            if begin % chunk_size == 0:
                grid[begin // chunk_size] = state
            after, y[begin:end] = inputs.advance(state, begin, end, scratch)
            for row, stop in wanted.get(seq, ()):
                if begin < stop <= end:
                    tracked[row] = after[stop - begin - 1]
            state = after[-1].clone()  # the next piece overwrites the scratch
        final[seq] = state
    if D is not None:
        y += _skip(x[0].float(), D)
    out.copy_(y[None])
    return grid[None], final, tracked[None] if wanted else None


def selective_state_update(
    state: torch.Tensor,
    x: torch.Tensor,
    dt: torch.Tensor,
    A: torch.Tensor,  # noqa: N803
    B: torch.Tensor,  # noqa: N803
    C: torch.Tensor,  # noqa: N803
    D: torch.Tensor | None = None,  # noqa: N803
    z: torch.Tensor | None = None,
    dt_bias: torch.Tensor | None = None,
    dt_softplus: bool = False,
    state_batch_indices: torch.Tensor | None = None,
    pad_slot_id: int = PAD_SLOT,
    out: torch.Tensor | None = None,
    disable_state_update: bool = False,
    intermediate_states_buffer: torch.Tensor | None = None,
    cache_steps: int | None = None,
    retrieve_parent_token: torch.Tensor | None = None,
    intermediate_state_indices: torch.Tensor | None = None,
) -> None:
    """Advance a batch by one token.

    Args:
        state: ``(slots, heads, head_dim, state)``, any strides; written in place.
        x, dt: ``(batch, heads, head_dim)``; dt before bias and softplus.
        A: ``(heads, head_dim, state)``, negative.
        B, C: ``(batch, groups, state)``.
        D, dt_bias: ``(heads, head_dim)``.
        state_batch_indices: ``(batch,)`` slot of each row. None: slot i for row i.
        pad_slot_id: Rows in this slot leave every state alone; their output is zero.
        out: ``(batch, heads, head_dim)``, written.
        disable_state_update: Compute `out` but write no state.

    Raises:
        NotImplementedError: gating with `z`, several tokens a row (4-dim `x`), no `out`, or
            any of the arguments of speculative decoding.
    """
    reject(
        "selective_state_update",
        {
            "z": z,
            "intermediate_states_buffer": intermediate_states_buffer,
            "cache_steps": cache_steps,
            "retrieve_parent_token": retrieve_parent_token,
            "intermediate_state_indices": intermediate_state_indices,
        },
    )
    if out is None or x.dim() != 3:
        raise NotImplementedError("selective_state_update: one token a row, into `out`")
    if state_batch_indices is None:
        slots = torch.arange(x.shape[0], device=x.device)
    else:
        slots = state_batch_indices.long()
    live = slots != pad_slot_id
    heads = x.shape[1]
    step = _step_size(dt, dt_bias, dt_softplus)
    new = (x.float() * step)[..., None] * _per_head(B, heads)[:, :, None, :]
    new.addcmul_(state[slots.clamp(min=0)].float(), torch.exp(step[..., None] * A.float()))
    y = torch.matmul(new, _per_head(C, heads)[..., None]).squeeze(-1)
    if D is not None:
        y += _skip(x.float(), D)
    if not disable_state_update:
        state[slots[live]] = new[live].to(state.dtype)
    out.copy_(y * live[:, None, None])
