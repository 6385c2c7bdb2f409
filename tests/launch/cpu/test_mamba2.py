"""Mamba-2 against its recurrence, written out number by number in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cachepawl_launch.cpu.mamba2 import (
    PAD_SLOT,
    mamba_chunk_scan_combined,
    selective_state_update,
)

Draw = Callable[..., torch.Tensor]
HEADS, HEAD_DIM, GROUPS, STATE, CHUNK = 4, 3, 2, 5, 8
SHAPE = (HEADS, HEAD_DIM, STATE)
CLOSE = {"rtol": 2e-5, "atol": 2e-6}


class Inputs:
    """Random terms of a scan over `tokens` tokens."""

    def __init__(self, draw: Draw, tokens: int) -> None:
        self.x = draw(tokens, HEADS, HEAD_DIM)
        self.dt = draw(tokens, HEADS)
        self.a = -torch.exp(draw(HEADS))
        self.b = draw(tokens, GROUPS, STATE)
        self.c = draw(tokens, GROUPS, STATE)
        self.d = draw(HEADS)
        self.bias = draw(HEADS)

    def scan(self, starts: list[int], initial: torch.Tensor | None, **more: Any) -> tuple[Any, ...]:
        tokens = slice(starts[0], starts[-1])
        out = torch.full((1, starts[-1] - starts[0], HEADS, HEAD_DIM), float("nan"))
        states = mamba_chunk_scan_combined(
            self.x[None, tokens],
            self.dt[None, tokens],
            self.a,
            self.b[None, tokens],
            self.c[None, tokens],
            CHUNK,
            D=self.d,
            dt_bias=self.bias,
            dt_softplus=True,
            initial_states=initial,
            cu_seqlens=torch.tensor(starts) - starts[0],
            out=out,
            return_varlen_states=True,
            return_track_states=True,
            **more,
        )
        return out[0], *states

    def defined(
        self, begin: int, end: int, state: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Outputs of tokens ``[begin, end)`` and the states before and after each of them."""
        state = state.double().clone()
        states, outputs = [state.clone()], []
        for t in range(begin, end):
            y = torch.zeros((HEADS, HEAD_DIM), dtype=torch.float64)
            for h in range(HEADS):
                g = h // (HEADS // GROUPS)
                step = torch.log1p(torch.exp((self.dt[t, h] + self.bias[h]).double()))
                for p in range(HEAD_DIM):
                    x = self.x[t, h, p].double()
                    for n in range(STATE):
                        state[h, p, n] *= torch.exp(step * self.a[h].double())
                        state[h, p, n] += step * x * self.b[t, g, n].double()
                        y[h, p] += state[h, p, n] * self.c[t, g, n].double()
                    y[h, p] += self.d[h].double() * x
            outputs.append(y)
            states.append(state.clone())
        return torch.stack(outputs), states


@pytest.mark.parametrize("resumed", [False, True])
def test_scan_is_the_recurrence(randn: Draw, resumed: bool) -> None:
    starts = [0, 11, 12, 12, 29]  # one of a single token, one empty, three grid crossings
    inputs = Inputs(randn, starts[-1])
    initial = randn(4, *SHAPE) if resumed else None
    wanted = [(0, 0), (0, 5), (0, 11), (1, 12), (3, 12), (3, 13), (3, 21), (3, 29)]
    out, grid, final, tracked = inputs.scan(
        starts,
        initial,
        track_seq_idx=torch.tensor([seq for seq, _ in wanted]),
        track_end_locs=torch.tensor([end for _, end in wanted]),
    )
    history = []
    for seq in range(4):
        begin, end = starts[seq], starts[seq + 1]
        first = initial[seq] if resumed else torch.zeros(SHAPE)
        if begin == end:
            history.append([first.double()])
            continue
        y, states = inputs.defined(begin, end, first)
        torch.testing.assert_close(out[begin:end].double(), y, **CLOSE)
        history.append(states)
    for seq in range(4):
        torch.testing.assert_close(final[seq].double(), history[seq][-1], **CLOSE)
    for row, (seq, end) in enumerate(wanted):
        want = history[seq][end - starts[seq]]
        torch.testing.assert_close(tracked[0, row].double(), want, **CLOSE)
    owners = {0: 0, 8: 0, 16: 3, 24: 3}
    assert grid.shape == (1, 4, *SHAPE)
    for token, seq in owners.items():
        want = history[seq][token - starts[seq]]
        torch.testing.assert_close(grid[0, token // CHUNK].double(), want, **CLOSE)


def test_a_grid_state_at_a_sequence_start_is_that_sequences_own(randn: Draw) -> None:
    inputs, initial = Inputs(randn, 12), randn(2, *SHAPE)
    _, grid, _, _ = inputs.scan([0, CHUNK, 12], initial)
    assert torch.equal(grid[0, 1], initial[1])


def test_where_a_prefill_is_split_does_not_matter(randn: Draw) -> None:
    inputs, first = Inputs(randn, 50), randn(1, *SHAPE)
    out, _, final, _ = inputs.scan([0, 50], first)
    for cut in (1, 7, 8, 33, 49):
        left, _, middle, _ = inputs.scan([0, cut], first)
        right, _, end, _ = inputs.scan([cut, 50], middle)
        torch.testing.assert_close(end, final, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(torch.cat([left, right]), out, rtol=1e-6, atol=1e-6)


def test_states_come_in_the_dtype_asked_for(randn: Draw) -> None:
    inputs = Inputs(randn, 9)
    _, grid, final, tracked = inputs.scan([0, 9], None, state_dtype=torch.bfloat16)
    assert grid.dtype == final.dtype == torch.bfloat16
    assert tracked is None


def test_the_reference_scan_of_transformers_agrees(randn: Draw) -> None:
    scan = pytest.importorskip(
        "transformers.models.nemotron_h.modeling_nemotron_h"
    ).mamba2_chunk_scan
    inputs = Inputs(randn, 21)
    theirs, their_state = scan(
        inputs.x[None],
        inputs.dt[None],
        inputs.a,
        inputs.b[None],
        inputs.c[None],
        chunk_size=CHUNK,
        D=inputs.d,
        dt_bias=inputs.bias,
        dt_softplus=True,
        return_final_states=True,
    )
    out, _, final, _ = inputs.scan([0, 21], None)
    torch.testing.assert_close(out, theirs[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(final, their_state, rtol=1e-4, atol=1e-5)


def decode(inputs: Inputs, t: slice, pool: torch.Tensor, slots: list[int], **more: Any) -> Any:
    """One step with the arguments in the expanded shapes that the mixer passes."""
    x = inputs.x[t]
    out = torch.full(x.shape, float("nan"))
    selective_state_update(
        pool,
        x,
        inputs.dt[t][:, :, None].expand(-1, -1, HEAD_DIM),
        inputs.a[:, None, None].expand(-1, HEAD_DIM, STATE),
        inputs.b[t],
        inputs.c[t],
        inputs.d[:, None].expand(-1, HEAD_DIM),
        dt_bias=inputs.bias[:, None].expand(-1, HEAD_DIM),
        dt_softplus=True,
        state_batch_indices=torch.tensor(slots, dtype=torch.int32),
        out=out,
        **more,
    )
    return out


def test_decode_is_the_recurrence(make_pool: Draw, randn: Draw) -> None:
    inputs, pool, slots = Inputs(randn, 3), make_pool(6, *SHAPE), [4, PAD_SLOT, 2]
    before = pool.clone()
    out = decode(inputs, slice(0, 3), pool, slots)
    expected_pool = before.clone()
    for row in (0, 2):
        y, states = inputs.defined(row, row + 1, before[slots[row]])
        torch.testing.assert_close(out[row].double(), y[0], **CLOSE)
        expected_pool[slots[row]] = states[-1].float()
    assert bool((out[1] == 0).all())
    torch.testing.assert_close(pool, expected_pool, rtol=1e-5, atol=1e-6)
    assert torch.equal(pool[[0, 1, 3, 5]], before[[0, 1, 3, 5]])


def test_decode_continues_a_scan(make_pool: Draw, randn: Draw) -> None:
    inputs, pool = Inputs(randn, 20), make_pool(2, *SHAPE)
    out, _, final, _ = inputs.scan([0, 20], None)
    pool[1] = inputs.scan([0, 13], None)[2][0]
    for t in range(13, 20):
        step = decode(inputs, slice(t, t + 1), pool, [1])
        torch.testing.assert_close(step[0], out[t], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(pool[1], final[0], rtol=1e-6, atol=1e-7)


def test_decode_can_leave_the_states_alone(make_pool: Draw, randn: Draw) -> None:
    inputs, pool = Inputs(randn, 1), make_pool(2, *SHAPE)
    before = pool.clone()
    out = decode(inputs, slice(0, 1), pool, [1], disable_state_update=True)
    assert torch.equal(pool, before)
    assert torch.equal(out, decode(inputs, slice(0, 1), pool, [1]))


@pytest.mark.parametrize(
    "name",
    [
        "z",
        "intermediate_states_buffer",
        "cache_steps",
        "retrieve_parent_token",
        "intermediate_state_indices",
    ],
)
def test_what_decode_lacks_is_refused_by_name(make_pool: Draw, randn: Draw, name: str) -> None:
    with pytest.raises(NotImplementedError, match=name):
        decode(Inputs(randn, 1), slice(0, 1), make_pool(2, *SHAPE), [0], **{name: 1})


def test_what_the_scan_lacks_is_refused(randn: Draw) -> None:
    inputs = Inputs(randn, 4)
    with pytest.raises(NotImplementedError, match="z"):
        inputs.scan([0, 4], None, z=torch.zeros(1))
    with pytest.raises(NotImplementedError, match="return_track_states"):
        inputs.scan([0, 4], None, return_intermediate_states=True)
