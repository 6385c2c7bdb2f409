"""Gated delta rule (Gated DeltaNet, arXiv 2412.06464): gates, the prefill and the decode step.

Per value head, with the state ``S`` of shape ``(value_dim, key_dim)``, keys and queries
normalised to length one, ``g`` the log of the decay and ``beta`` the write strength:

    S_t = e^g_t * S_(t-1) + beta_t * (v_t - e^g_t * S_(t-1) k_t) k_t^T
    o_t = S_t q_t * scale

The state advances one token at a time, by the same operations wherever a prefill is split, which
therefore changes no more than the last bits of a number. The outputs are read from the states of
a whole chunk at once.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch.nn.functional import softplus

# The chunk in which SGLang's backend counts the intermediate states of this rule.
CHUNK = 64
_NORM_EPS = 1e-6


def fused_gdn_gating(
    A_log: torch.Tensor,  # noqa: N803
    a: torch.Tensor,
    b: torch.Tensor,
    dt_bias: torch.Tensor,
    beta: float = 1.0,
    threshold: float = 20.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gates of each token and value head.

    Args:
        A_log, dt_bias: ``(heads,)``.
        a, b: ``(tokens, heads)``.
        beta, threshold: of the softplus.

    Returns:
        Log decay ``g = -exp(A_log) * softplus(a + dt_bias)`` and write strength
        ``sigmoid(b)``, both ``(1, tokens, heads)`` float32; the latter rounded to b's dtype.
    """
    g = -torch.exp(A_log.float()) * softplus(a.float() + dt_bias.float(), beta, threshold)
    strength = torch.sigmoid(b.float()).to(b.dtype).float()
    return g[None], strength[None]


def _unit(x: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + _NORM_EPS)


@dataclass(frozen=True)
class _Inputs:
    """Per-token terms of the recurrence, flat over all sequences, in float32, per value head."""

    q: torch.Tensor  # (tokens, heads, key_dim, 1), scaled
    k: torch.Tensor  # (tokens, heads, key_dim, 1)
    k_row: torch.Tensor  # (tokens, heads, 1, key_dim)
    v: torch.Tensor  # (tokens, heads, value_dim, 1), times beta
    keep: torch.Tensor  # (tokens, heads, 1, 1), the decay e^g
    erase: torch.Tensor  # (tokens, heads, 1, 1), minus beta times the decay

    def advance(
        self, state: torch.Tensor, begin: int, end: int, scratch: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run tokens ``[begin, end)``: the state after the last, a view of `scratch`, and o."""
        read = state.new_empty((*state.shape[:2], 1))
        after = scratch[: end - begin]
        span = slice(begin, end)
        tokens = zip(
            after.unbind(0),
            self.k[span].unbind(0),
            self.k_row[span].unbind(0),
            self.v[span].unbind(0),
            self.keep[span].unbind(0),
            self.erase[span].unbind(0),
            strict=True,
        )
        for here, k, k_row, v, keep, erase in tokens:
            torch.bmm(state, k, out=read)
            torch.mul(state, keep, out=here)
            state = here.baddbmm_(torch.addcmul(v, read, erase, out=read), k_row)
        return state, torch.matmul(after, self.q[span]).squeeze(-1)


def _inputs(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor,
    beta: torch.Tensor,
    scale: float,
    normalise: bool,
) -> _Inputs:
    """From q, k ``(tokens, key_heads, key_dim)``, v ``(tokens, heads, value_dim)``."""
    q, k, v = q.float(), k.float(), v.float()
    if normalise:
        q, k = _unit(q), _unit(k)
    share = v.shape[1] // q.shape[1]
    q = (q * scale).repeat_interleave(share, dim=1)
    k = k.repeat_interleave(share, dim=1)
    decay, strength = torch.exp(g.float()), beta.float()
    return _Inputs(
        q=q[..., None],
        k=k[..., None],
        k_row=k[:, :, None, :],
        v=(v * strength[..., None])[..., None],
        keep=decay[..., None, None],
        erase=(-strength * decay)[..., None, None],
    )


def chunk_gated_delta_rule(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor,
    beta: torch.Tensor,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    initial_state_indices: torch.Tensor | None = None,
    cu_seqlens: torch.Tensor | None = None,
    head_first: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    inplace_update: bool = True,
) -> tuple[torch.Tensor, None, torch.Tensor]:
    """Apply the rule to a prefill of several sequences laid end to end.

    Args:
        q, k: ``(1, tokens, key_heads, key_dim)``.
        v: ``(1, tokens, heads, value_dim)``; heads a multiple of key_heads.
        g, beta: ``(1, tokens, heads)``: log decay and write strength.
        scale: Of the queries; None: ``key_dim ** -0.5``.
        initial_state: ``(slots, heads, value_dim, key_dim)``, any strides.
        initial_state_indices: ``(sequences,)`` slot of each sequence; negative: the sequence
            starts from zeros and its state is not kept.
        cu_seqlens: ``(sequences + 1,)`` token offsets, first 0.
        use_qk_l2norm_in_kernel: Normalise q and k per head.
        inplace_update: Write each sequence's last state to its slot.

    Returns:
        Output ``(1, tokens, heads, value_dim)`` in v's dtype; None; float32 states
        ``(1, n, heads, value_dim, key_dim)`` entering each chunk of 64 tokens, counted within
        each sequence, sequence after sequence.

    Raises:
        NotImplementedError: `head_first`, or a call without the state pool, its indices and
            `cu_seqlens`.
    """
    if head_first or cu_seqlens is None or initial_state is None or initial_state_indices is None:
        raise NotImplementedError(
            "chunk_gated_delta_rule needs head_first=False, initial_state, "
            "initial_state_indices and cu_seqlens"
        )
    scale = k.shape[-1] ** -0.5 if scale is None else scale
    inputs = _inputs(q[0], k[0], v[0], g[0], beta[0], scale, use_qk_l2norm_in_kernel)
    starts, slots = cu_seqlens.tolist(), initial_state_indices.tolist()
    shape = initial_state.shape[1:]
    out = torch.zeros(v.shape[1:], dtype=torch.float32, device=v.device)
    scratch = out.new_empty((CHUNK, *shape))
    entering: list[torch.Tensor] = []
    for slot, (first, last) in zip(slots, pairwise(starts), strict=True):
        state = initial_state[slot].float() if slot >= 0 else out.new_zeros(shape)
        for begin in range(first, last, CHUNK):
            state = state.clone()  # it may lie in the scratch, which is overwritten next
            entering.append(state)
            end = min(begin + CHUNK, last)
            state, out[begin:end] = inputs.advance(state, begin, end, scratch)
        if inplace_update and slot >= 0:
            initial_state[slot] = state.to(initial_state.dtype)
    states = torch.stack(entering) if entering else out.new_empty((0, *shape))
    return out[None].to(v.dtype), None, states[None]


def fused_recurrent_gated_delta_rule_packed_decode(
    mixed_qkv: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    A_log: torch.Tensor,  # noqa: N803
    dt_bias: torch.Tensor,
    scale: float,
    initial_state: torch.Tensor,
    out: torch.Tensor,
    ssm_state_indices: torch.Tensor,
    use_qk_l2norm_in_kernel: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advance a batch by one token.

    Args:
        mixed_qkv: ``(batch, 2 * key_heads * key_dim + heads * value_dim)``: all q, all k, all v.
        a, b: ``(batch, heads)``, inputs of the gates.
        A_log, dt_bias: ``(heads,)``.
        scale: Of the queries.
        initial_state: ``(slots, heads, value_dim, key_dim)``, any strides; written in place.
        out: ``(batch, 1, heads, value_dim)``, written.
        ssm_state_indices: ``(batch,)`` slot of each row. Negative: the row leaves every state
            alone and its output is zero.
        use_qk_l2norm_in_kernel: Normalise q and k per head.

    Returns:
        `out` and `initial_state`.
    """
    batch = mixed_qkv.shape[0]
    heads, value_dim, key_dim = initial_state.shape[1:]
    qk = (mixed_qkv.shape[1] - heads * value_dim) // 2
    q, k, v = torch.split(mixed_qkv, [qk, qk, heads * value_dim], dim=1)
    g, beta = fused_gdn_gating(A_log, a, b, dt_bias)
    step = _inputs(
        q.reshape(batch, -1, key_dim),
        k.reshape(batch, -1, key_dim),
        v.reshape(batch, heads, value_dim),
        g[0],
        beta[0],
        scale,
        use_qk_l2norm_in_kernel,
    )
    slots = ssm_state_indices.long()
    live = slots >= 0
    state = initial_state[slots.clamp(min=0)].float()
    write = torch.addcmul(step.v, torch.matmul(state, step.k), step.erase)
    state = state * step.keep + write * step.k_row
    initial_state[slots[live]] = state[live].to(initial_state.dtype)
    y = torch.matmul(state, step.q).squeeze(-1) * live[:, None, None]
    out.copy_(y[:, None])
    return out, initial_state
