"""The gated delta rule against its recurrence, written out in float64."""

from collections.abc import Callable

import pytest
import torch

from cachepawl_launch.cpu.gdn import (
    CHUNK,
    chunk_gated_delta_rule,
    fused_gdn_gating,
    fused_recurrent_gated_delta_rule_packed_decode,
)

Draw = Callable[..., torch.Tensor]
KEY_HEADS, HEADS, KEY_DIM, VALUE_DIM = 2, 4, 5, 3
SHAPE = (HEADS, VALUE_DIM, KEY_DIM)
SCALE = KEY_DIM**-0.5
CLOSE = {"rtol": 5e-5, "atol": 5e-6}


class Inputs:
    """Random terms of the rule over `tokens` tokens, with the gates' own inputs."""

    def __init__(self, draw: Draw, tokens: int) -> None:
        self.q = draw(tokens, KEY_HEADS, KEY_DIM)
        self.k = draw(tokens, KEY_HEADS, KEY_DIM)
        self.v = draw(tokens, HEADS, VALUE_DIM)
        self.a, self.b = draw(tokens, HEADS), draw(tokens, HEADS)
        self.a_log, self.bias = draw(HEADS), draw(HEADS)

    def gates(self) -> tuple[torch.Tensor, torch.Tensor]:
        return fused_gdn_gating(self.a_log, self.a, self.b, self.bias)

    def chunk(
        self, starts: list[int], pool: torch.Tensor, slots: list[int], inplace: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        span = slice(starts[0], starts[-1])
        g, beta = self.gates()
        out, none, entering = chunk_gated_delta_rule(
            self.q[None, span],
            self.k[None, span],
            self.v[None, span],
            g[:, span],
            beta[:, span],
            initial_state=pool,
            initial_state_indices=torch.tensor(slots, dtype=torch.int32),
            cu_seqlens=torch.tensor(starts) - starts[0],
            use_qk_l2norm_in_kernel=True,
            inplace_update=inplace,
        )
        assert none is None
        return out[0], entering[0]

    def decode(self, t: slice, pool: torch.Tensor, slots: list[int]) -> torch.Tensor:
        rows = self.q[t].shape[0]
        packed = [part[t].reshape(rows, -1) for part in (self.q, self.k, self.v)]
        out = torch.full((rows, 1, HEADS, VALUE_DIM), float("nan"))
        fused_recurrent_gated_delta_rule_packed_decode(
            torch.cat(packed, dim=1),
            self.a[t],
            self.b[t],
            self.a_log,
            self.bias,
            SCALE,
            pool,
            out,
            torch.tensor(slots, dtype=torch.int32),
            use_qk_l2norm_in_kernel=True,
        )
        return out[:, 0]

    def defined(
        self, begin: int, end: int, state: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Outputs of tokens ``[begin, end)`` and the states before and after each of them."""
        state = state.double().clone()
        states, outputs = [state.clone()], []
        for t in range(begin, end):
            y = torch.zeros((HEADS, VALUE_DIM), dtype=torch.float64)
            for h in range(HEADS):
                q, k = (x[t, h // (HEADS // KEY_HEADS)].double() for x in (self.q, self.k))
                q = q / torch.sqrt((q * q).sum() + 1e-6) * SCALE
                k = k / torch.sqrt((k * k).sum() + 1e-6)
                rate = torch.exp(self.a_log[h].double())
                step = torch.log1p(torch.exp((self.a[t, h] + self.bias[h]).double()))
                beta = 1 / (1 + torch.exp(-self.b[t, h].double()))
                state[h] *= torch.exp(-rate * step)
                state[h] += beta * torch.outer(self.v[t, h].double() - state[h] @ k, k)
                y[h] = state[h] @ q
            outputs.append(y)
            states.append(state.clone())
        return torch.stack(outputs), states


def test_gates_are_the_definition(randn: Draw) -> None:
    inputs = Inputs(randn, 7)
    inputs.a[3] = 100.0  # where the softplus is its argument
    g, beta = inputs.gates()
    step = torch.log1p(torch.exp((inputs.a + inputs.bias).double()))
    torch.testing.assert_close(g[0].double(), -torch.exp(inputs.a_log.double()) * step, **CLOSE)
    torch.testing.assert_close(beta[0].double(), 1 / (1 + torch.exp(-inputs.b.double())), **CLOSE)
    assert g.shape == beta.shape == (1, 7, HEADS)


def test_prefill_is_the_recurrence(make_pool: Draw, randn: Draw) -> None:
    starts, slots = [0, 70, 71, 71, 75, 205], [5, 2, 0, -1, 3]
    inputs, pool = Inputs(randn, starts[-1]), make_pool(7, *SHAPE)
    before = pool.clone()
    out, entering = inputs.chunk(starts, pool, slots)
    expected_pool, expected_entering = before.clone(), []
    for seq, slot in enumerate(slots):
        begin, end = starts[seq], starts[seq + 1]
        if begin == end:
            continue
        first = before[slot] if slot >= 0 else torch.zeros(SHAPE)
        y, states = inputs.defined(begin, end, first)
        torch.testing.assert_close(out[begin:end].double(), y, **CLOSE)
        expected_entering += [states[t] for t in range(0, end - begin, CHUNK)]
        if slot >= 0:
            expected_pool[slot] = states[-1].float()
    torch.testing.assert_close(pool, expected_pool, rtol=5e-5, atol=5e-6)
    assert torch.equal(pool[[1, 4, 6]], before[[1, 4, 6]])
    assert len(expected_entering) == 2 + 1 + 1 + 3
    torch.testing.assert_close(entering.double(), torch.stack(expected_entering), **CLOSE)


def test_where_a_prefill_is_split_does_not_matter(make_pool: Draw, randn: Draw) -> None:
    inputs, pool = Inputs(randn, 150), make_pool(3, *SHAPE)
    first = pool[1].clone()
    out, _ = inputs.chunk([0, 150], pool, [1])
    for cut in (1, 63, 64, 100, 149):
        pool[2] = first
        left, _ = inputs.chunk([0, cut], pool, [2])
        right, _ = inputs.chunk([cut, 150], pool, [2])
        torch.testing.assert_close(pool[2], pool[1], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(torch.cat([left, right]), out, rtol=1e-6, atol=1e-6)


def test_prefill_can_leave_the_states_alone(make_pool: Draw, randn: Draw) -> None:
    inputs, pool = Inputs(randn, 5), make_pool(2, *SHAPE)
    before = pool.clone()
    inputs.chunk([0, 5], pool, [1], inplace=False)
    assert torch.equal(pool, before)


def test_the_reference_rule_of_transformers_agrees(make_pool: Draw, randn: Draw) -> None:
    rule = pytest.importorskip(
        "transformers.models.qwen3_5.modeling_qwen3_5"
    ).torch_chunk_gated_delta_rule
    inputs, pool = Inputs(randn, 90), make_pool(2, *SHAPE)
    g, beta = inputs.gates()
    share = HEADS // KEY_HEADS
    theirs, their_state = rule(
        inputs.q[None].repeat_interleave(share, dim=2),
        inputs.k[None].repeat_interleave(share, dim=2),
        inputs.v[None],
        g=g,
        beta=beta,
        initial_state=pool[:1].mT.clone(),
        output_final_state=True,
        use_qk_l2norm_in_kernel=True,
    )
    out, _ = inputs.chunk([0, 90], pool, [0])
    torch.testing.assert_close(out, theirs[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pool[:1], their_state.mT, rtol=1e-4, atol=1e-5)


def test_decode_is_the_recurrence(make_pool: Draw, randn: Draw) -> None:
    inputs, pool, slots = Inputs(randn, 3), make_pool(6, *SHAPE), [4, -1, 2]
    before = pool.clone()
    out = inputs.decode(slice(0, 3), pool, slots)
    expected_pool = before.clone()
    for row in (0, 2):
        y, states = inputs.defined(row, row + 1, before[slots[row]])
        torch.testing.assert_close(out[row].double(), y[0], **CLOSE)
        expected_pool[slots[row]] = states[-1].float()
    assert bool((out[1] == 0).all())
    torch.testing.assert_close(pool, expected_pool, rtol=5e-5, atol=5e-6)
    assert torch.equal(pool[[0, 1, 3, 5]], before[[0, 1, 3, 5]])


def test_decode_continues_a_prefill(make_pool: Draw, randn: Draw) -> None:
    inputs, pool = Inputs(randn, 80), make_pool(2, *SHAPE)
    pool[1] = pool[0]
    out, _ = inputs.chunk([0, 80], pool, [0])
    inputs.chunk([0, 66], pool, [1])
    for t in range(66, 80):
        step = inputs.decode(slice(t, t + 1), pool, [1])
        torch.testing.assert_close(step[0], out[t], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(pool[1], pool[0], rtol=1e-5, atol=1e-6)


def test_other_forms_of_call_are_refused(randn: Draw) -> None:
    inputs = Inputs(randn, 2)
    g, beta = inputs.gates()
    with pytest.raises(NotImplementedError, match="cu_seqlens"):
        chunk_gated_delta_rule(inputs.q[None], inputs.k[None], inputs.v[None], g, beta)
