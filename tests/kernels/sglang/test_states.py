"""SGLang's state kernels on the arena's strided states do what they do on contiguous ones.

Each runs once on views of an arena and once on contiguous copies; outputs and states must be the
same bits, and no byte of the arena but the states that were named may change.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from sglang.kernels.ops.attention.fla.chunk import chunk_gated_delta_rule
from sglang.kernels.ops.attention.fla.fused_recurrent import (
    fused_recurrent_gated_delta_rule_packed_decode,
)
from sglang.kernels.ops.attention.linear.fused_sigmoid_gating_recurrent import (
    fused_sigmoid_gating_delta_rule_update,
)
from sglang.kernels.ops.mamba.causal_conv1d_triton import causal_conv1d_fn, causal_conv1d_update
from sglang.kernels.ops.mamba.triton_ops.mamba_ssm import selective_state_update
from sglang.kernels.ops.mamba.triton_ops.ssd_combined import mamba_chunk_scan_combined
from sglang_views import (
    CONV_DIM,
    CONV_WIDTH,
    SLOTS,
    STATE_DIM,
    STATE_HEADS,
    STATE_SIZE,
    Views,
    filled,
    slots,
)

Step = Callable[[torch.Tensor], torch.Tensor]
TOKENS = 20
"""Of a prefill: sequences of 9, 4 and 7."""
STARTS = [0, 9, 13, 20]


def random(device: torch.device, *shape: int) -> torch.Tensor:
    return torch.randn(*shape).to(device)


def check(views: Views, view: torch.Tensor, step: Step) -> torch.Tensor:
    """`step` on the strided view and on a copy; the states that it left."""
    copy = view.contiguous()
    assert not view.is_contiguous()
    before = views.arena.raw.clone()
    states_before = copy.clone()
    strided, packed = step(view), step(copy)
    assert not strided.isnan().any()
    assert torch.equal(strided, packed)
    assert torch.equal(view, copy)
    after = view.clone()
    view.copy_(states_before)
    assert torch.equal(views.arena.raw, before), "bytes beside the states changed"
    return after


def changed(views: Views, before: torch.Tensor, after: torch.Tensor) -> set[int]:
    """Slots whose state is another one."""
    return {slot for slot in range(len(before)) if not torch.equal(before[slot], after[slot])}


def test_mamba2_decode(device: torch.device) -> None:
    views = filled(device)
    before = views.temporal.clone()
    heads = (STATE_HEADS, STATE_DIM)
    x, dt = random(device, 3, *heads), random(device, 3, STATE_HEADS, 1).expand(3, *heads)
    a = -torch.rand(STATE_HEADS, 1, 1, device=device).expand(*heads, STATE_SIZE)
    b, c = random(device, 3, 1, STATE_SIZE), random(device, 3, 1, STATE_SIZE)
    d, bias = (random(device, STATE_HEADS, 1).expand(heads) for _ in range(2))

    def step(state: torch.Tensor) -> torch.Tensor:
        out = torch.full_like(x, torch.nan)
        selective_state_update(
            state, x, dt, a, b, c, D=d, dt_bias=bias, dt_softplus=True,
            state_batch_indices=slots(device), out=out,
        )  # fmt: skip
        return out

    assert changed(views, before, check(views, views.temporal, step)) == set(SLOTS)


def test_mamba2_prefill(device: torch.device) -> None:
    """Sequences of 9 and 11 tokens; the scan reads slots 3 and 5 in the arena itself."""
    views = filled(device)
    x = random(device, 1, TOKENS, STATE_HEADS, STATE_DIM)
    dt = random(device, 1, TOKENS, STATE_HEADS)
    b, c = (random(device, 1, TOKENS, 1, STATE_SIZE) for _ in range(2))
    a = -torch.rand(STATE_HEADS, device=device)

    def whole(*values: int) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int32, device=device)

    def step(state: torch.Tensor) -> torch.Tensor:
        out = torch.full_like(x, torch.nan)
        final = mamba_chunk_scan_combined(
            x, dt, a, b, c, 16, initial_states=state, dt_softplus=True, out=out,
            seq_idx=whole(*[0] * 9, *[1] * 11)[None], cu_seqlens=whole(0, 9, 20),
            chunk_indices=whole(0, 0, 1), chunk_offsets=whole(0, 9, 0),
            return_varlen_states=True,
        )  # fmt: skip
        assert not torch.equal(final, state)
        return torch.cat((out.flatten(), final.float().flatten()))

    before = views.temporal.clone()
    check(views, views.temporal[3:6:2], step)
    assert torch.equal(views.temporal, before)


def test_conv_decode(device: torch.device) -> None:
    views = filled(device)
    before = views.conv.clone()
    weight, bias = random(device, CONV_DIM, CONV_WIDTH).half(), random(device, CONV_DIM).half()
    x = random(device, 3, CONV_DIM).half()

    def step(state: torch.Tensor) -> torch.Tensor:
        return causal_conv1d_update(
            x.clone(), state, weight, bias, "silu", conv_state_indices=slots(device)
        )

    assert changed(views, before, check(views, views.conv, step)) == set(SLOTS)


def test_conv_prefill(device: torch.device) -> None:
    views = filled(device)
    before = views.conv.clone()
    weight, bias = random(device, CONV_DIM, CONV_WIDTH).half(), random(device, CONV_DIM).half()
    x = random(device, TOKENS, CONV_DIM).half().t()

    def step(state: torch.Tensor) -> torch.Tensor:
        return causal_conv1d_fn(
            x, weight, bias, state, torch.tensor(STARTS, dtype=torch.int32, device=device),
            [9, 4, 7], cache_indices=slots(device),
            has_initial_state=torch.tensor([True, False, True], device=device), activation="silu",
        )  # fmt: skip

    assert changed(views, before, check(views, views.conv, step)) == set(SLOTS)


def delta_inputs(device: torch.device, tokens: int) -> dict[str, torch.Tensor]:
    q, k = (random(device, 1, tokens, STATE_HEADS, STATE_SIZE).half() for _ in range(2))
    return {
        "q": q,
        "k": torch.nn.functional.normalize(k.float(), dim=-1).half(),
        "v": random(device, 1, tokens, STATE_HEADS, STATE_DIM).half(),
        "g": -torch.rand(1, tokens, STATE_HEADS, device=device),
        "beta": torch.rand(1, tokens, STATE_HEADS, device=device).half(),
    }


def test_gated_delta_decode(device: torch.device) -> None:
    views = filled(device)
    before = views.temporal.clone()
    inputs, gates = delta_inputs(device, 3), random(device, 2, 3, STATE_HEADS).half()
    rates = random(device, 2, STATE_HEADS)

    def step(state: torch.Tensor) -> torch.Tensor:
        return fused_sigmoid_gating_delta_rule_update(
            A_log=rates[0], dt_bias=rates[1], softplus_beta=1.0, softplus_threshold=20.0,
            a=gates[0], b=gates[1], **{name: inputs[name] for name in "qkv"},
            initial_state_source=state, initial_state_indices=slots(device),
            cu_seqlens=torch.tensor([0, 1, 2, 3], dtype=torch.int32, device=device),
        )  # fmt: skip

    assert changed(views, before, check(views, views.temporal, step)) == set(SLOTS)


def test_gated_delta_packed_decode(device: torch.device) -> None:
    views = filled(device)
    before = views.temporal.clone()
    width = STATE_HEADS * (2 * STATE_SIZE + STATE_DIM)
    mixed, gates = random(device, 3, width).half(), random(device, 2, 3, STATE_HEADS).half()
    rates = random(device, 2, STATE_HEADS)

    def step(state: torch.Tensor) -> torch.Tensor:
        out = torch.full((3, 1, STATE_HEADS, STATE_DIM), torch.nan, device=device).half()
        fused_recurrent_gated_delta_rule_packed_decode(
            mixed, gates[0], gates[1], rates[0], rates[1], STATE_SIZE**-0.5, state, out,
            slots(device), use_qk_l2norm_in_kernel=True,
        )  # fmt: skip
        return out

    assert changed(views, before, check(views, views.temporal, step)) == set(SLOTS)


def prefill(device: torch.device, state: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(1)
    out, *_ = chunk_gated_delta_rule(
        **delta_inputs(device, TOKENS), initial_state=state, initial_state_indices=places,
        cu_seqlens=torch.tensor(STARTS, dtype=torch.int64, device=device),
    )  # fmt: skip
    return out


def test_gated_delta_prefill(device: torch.device) -> None:
    """As SGLang's backend does it for strided states: gathered, computed, written back."""
    views = filled(device)
    before = views.temporal.clone()
    few = torch.arange(3, dtype=torch.int32, device=device)

    def step(state: torch.Tensor) -> torch.Tensor:
        gathered = state[slots(device).long()].contiguous()
        out = prefill(device, gathered, few)
        state[slots(device).long()] = gathered
        return out

    assert changed(views, before, check(views, views.temporal, step)) == set(SLOTS)


def test_gated_delta_prefill_needs_the_gather(device: torch.device) -> None:
    """Called on the view itself, the chunk kernel updates a copy that nobody keeps."""
    views = filled(device)
    before, packed = views.arena.raw.clone(), views.temporal.contiguous()
    out = prefill(device, views.temporal, slots(device))
    assert torch.equal(out, prefill(device, packed, slots(device)))
    assert not torch.equal(packed, views.temporal)
    assert torch.equal(views.arena.raw, before)
