"""The causal convolution against its definition, written out tap by tap in float64."""

from collections.abc import Callable

import pytest
import torch

from cachepawl_launch.cpu.conv import PAD_SLOT, causal_conv1d_fn, causal_conv1d_update

Draw = Callable[..., torch.Tensor]
DIM = 6
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def defined(
    x: torch.Tensor,
    past: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    activation: str | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs ``(dim, n)`` and the new state, one output at a time."""
    dim, width = weight.shape
    history = [*past.double().T, *x.double().T]
    out = torch.zeros((dim, x.shape[1]), dtype=torch.float64)
    for t in range(x.shape[1]):
        for channel in range(dim):
            total = 0.0 if bias is None else float(bias[channel].double())
            for k in range(width):
                total += float(history[t + k][channel] * weight[channel, k].double())
            out[channel, t] = total
    if activation is not None:
        out = out / (1 + torch.exp(-out))
    return out, torch.stack(history[len(history) - width + 1 :], dim=1)


@pytest.mark.parametrize(
    ("width", "activation", "with_bias"), [(4, "silu", True), (3, None, False), (2, "swish", True)]
)
def test_prefill_is_the_definition(
    make_pool: Draw, randn: Draw, width: int, activation: str | None, with_bias: bool
) -> None:
    lengths, slots, resumes = [5, 1, 9, 2, 4], [4, 2, 7, 1, PAD_SLOT], [1, 1, 0, 1, 1]
    pool = make_pool(9, DIM, width - 1)
    before = pool.clone()
    starts = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    x, weight = randn(DIM, starts[-1] + 3), randn(DIM, width)
    bias = randn(DIM) if with_bias else None
    out = causal_conv1d_fn(
        x,
        weight,
        bias,
        conv_states=pool,
        query_start_loc=torch.tensor(starts, dtype=torch.int32),
        cache_indices=torch.tensor(slots, dtype=torch.int32),
        has_initial_state=torch.tensor(resumes).bool(),
        activation=activation,
        seq_lens_cpu=lengths,
    )
    expected_pool = before.clone()
    for i, slot in enumerate(slots[:-1]):
        piece = x[:, starts[i] : starts[i + 1]]
        past = before[slot] if resumes[i] else torch.zeros_like(before[slot])
        want, state = defined(piece, past, weight, bias, activation)
        torch.testing.assert_close(out[:, starts[i] : starts[i + 1]].double(), want, **CLOSE)
        expected_pool[slot] = state
    assert bool((out[:, starts[-2] :] == 0).all()), "a padded sequence, then padded tokens"
    torch.testing.assert_close(pool, expected_pool, rtol=0, atol=0)


def test_where_a_prefill_is_split_does_not_matter(make_pool: Draw, randn: Draw) -> None:
    x, weight, bias = randn(DIM, 40), randn(DIM, 4), randn(DIM)
    pool = make_pool(3, DIM, 3)

    def run(piece: torch.Tensor, slot: int, resume: bool) -> torch.Tensor:
        return causal_conv1d_fn(
            piece,
            weight,
            bias,
            conv_states=pool,
            query_start_loc=torch.tensor([0, piece.shape[1]]),
            cache_indices=torch.tensor([slot]),
            has_initial_state=torch.tensor([resume]),
        )

    whole = run(x, 1, False)
    for cut in (1, 2, 17, 39):
        parts = [run(x[:, :cut], 2, False), run(x[:, cut:], 2, True)]
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-6, atol=1e-6)
        assert torch.equal(pool[1], pool[2])


@pytest.mark.parametrize("three_dims", [False, True])
def test_decode_continues_a_prefill(make_pool: Draw, randn: Draw, three_dims: bool) -> None:
    pool = make_pool(6, DIM, 3)
    before = pool.clone()
    slots = [3, PAD_SLOT, 4]
    x, weight, bias = randn(3, DIM), randn(DIM, 4), randn(DIM)
    out = causal_conv1d_update(
        x[:, :, None] if three_dims else x,
        pool,
        weight,
        bias,
        "silu",
        conv_state_indices=torch.tensor(slots, dtype=torch.int32),
    )
    assert out.shape == ((3, DIM, 1) if three_dims else (3, DIM))
    out = out.reshape(3, DIM)
    expected_pool = before.clone()
    for row, slot in ((0, 3), (2, 4)):
        want, state = defined(x[row][:, None], before[slot], weight, bias, "silu")
        torch.testing.assert_close(out[row].double(), want[:, 0], **CLOSE)
        expected_pool[slot] = state
    assert bool((out[1] == 0).all())
    torch.testing.assert_close(pool, expected_pool, rtol=0, atol=0)


def test_decode_of_several_tokens_is_several_decodes(make_pool: Draw, randn: Draw) -> None:
    pool, weight, x = make_pool(4, DIM, 3), randn(DIM, 4), randn(2, DIM, 5)
    pool[2:] = pool[:2]
    together = causal_conv1d_update(x, pool, weight, conv_state_indices=torch.tensor([0, 1]))
    for t in range(5):
        one = causal_conv1d_update(
            x[:, :, t], pool, weight, conv_state_indices=torch.tensor([2, 3])
        )
        torch.testing.assert_close(one, together[:, :, t], rtol=1e-6, atol=1e-6)
    assert torch.equal(pool[:2], pool[2:])


def test_half_precision_inputs_are_summed_in_single(make_pool: Draw, randn: Draw) -> None:
    x, weight = randn(DIM, 8).bfloat16(), randn(DIM, 4).bfloat16()
    out = causal_conv1d_fn(x, weight, activation=None)
    want, _ = defined(x, torch.zeros(DIM, 3), weight, None, None)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, want.to(torch.bfloat16))


@pytest.mark.parametrize(
    "name",
    [
        "cache_seqlens",
        "num_accept_tokens",
        "intermediate_conv_window",
        "intermediate_state_indices",
        "retrieve_next_token",
        "retrieve_next_sibling",
        "retrieve_parent_token",
    ],
)
def test_speculation_is_refused_by_name(name: str) -> None:
    with pytest.raises(NotImplementedError, match=name):
        causal_conv1d_update(
            torch.zeros(1, 2), torch.zeros(1, 2, 3), torch.zeros(2, 4), **{name: torch.zeros(1)}
        )


def test_other_activations_and_longer_states_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="gelu"):
        causal_conv1d_fn(torch.zeros(2, 3), torch.zeros(2, 4), activation="gelu")
    with pytest.raises(NotImplementedError, match="keeps 3 inputs"):
        causal_conv1d_update(torch.zeros(1, 2), torch.zeros(1, 2, 5), torch.zeros(2, 4))
