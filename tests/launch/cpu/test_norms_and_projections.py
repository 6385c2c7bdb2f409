"""The gated norm against transformers' modules; the projections against their layout."""

from collections.abc import Callable

import pytest
import torch

from cachepawl_launch.cpu.norms import rms_norm_gated
from cachepawl_launch.cpu.projections import (
    fused_qkvzba_split_reshape_cat_contiguous,
    fused_sigmoid_mul,
)

Draw = Callable[..., torch.Tensor]
WIDTH = 12


def norm(x: torch.Tensor, weight: torch.Tensor, **more: object) -> torch.Tensor:
    return rms_norm_gated(x=x, weight=weight, is_rms_norm=True, **more)  # type: ignore[arg-type]


def test_norm_then_gate_is_qwens(randn: Draw) -> None:
    modeling = pytest.importorskip("transformers.models.qwen3_5.modeling_qwen3_5")
    module = modeling.Qwen3_5RMSNormGated(WIDTH, eps=1e-5)
    module.weight.data = randn(WIDTH)
    x, z = randn(9, WIDTH), randn(9, WIDTH)
    want = module(x, z).detach()
    torch.testing.assert_close(norm(x, module.weight.data, z=z, eps=1e-5), want)
    by_head = z.view(3, 3, WIDTH)  # (tokens, heads, width) against (tokens * heads, width)
    torch.testing.assert_close(norm(x, module.weight.data, z=by_head, eps=1e-5), want)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("gate_last", [False, True])
def test_grouped_norm_is_falcons(randn: Draw, groups: int, gate_last: bool) -> None:
    modeling = pytest.importorskip("transformers.models.falcon_h1.modeling_falcon_h1")
    module = modeling.FalconH1RMSNormGated(
        WIDTH, eps=1e-5, n_groups=groups, norm_before_gate=gate_last
    )
    module.weight.data = randn(WIDTH)
    x, z = randn(2, 9, WIDTH), randn(2, 9, WIDTH)
    mine = norm(
        x,
        module.weight.data,
        z=z,
        eps=1e-5,
        group_size=WIDTH // groups,
        norm_before_gate=gate_last,
    )
    torch.testing.assert_close(mine, module(x, z).detach(), rtol=1e-5, atol=1e-6)


def test_norm_with_bias_and_sigmoid_gate_is_the_definition(randn: Draw) -> None:
    x, z, weight, bias = randn(4, WIDTH), randn(4, WIDTH), randn(WIDTH), randn(WIDTH)
    mine = norm(x, weight, bias=bias, z=z, activation="sigmoid")
    for row in range(4):
        mean_square = sum(float(v) ** 2 for v in x[row]) / WIDTH
        want = x[row].double() / (mean_square + 1e-6) ** 0.5 * weight + bias
        want = want / (1 + torch.exp(-z[row].double()))
        torch.testing.assert_close(mine[row].double(), want, rtol=1e-5, atol=1e-6)


def test_what_the_norm_lacks_is_refused(randn: Draw) -> None:
    x, weight = randn(1, WIDTH), randn(WIDTH)
    with pytest.raises(NotImplementedError, match="mean"):
        rms_norm_gated(x=x, weight=weight)
    with pytest.raises(NotImplementedError, match="tanh"):
        norm(x, weight, z=x, activation="tanh")


def test_unpacking_is_the_documented_layout() -> None:
    qk_heads, v_heads, qk_dim, v_dim = 2, 4, 3, 5
    qkv = 2 * qk_heads * qk_dim + v_heads * v_dim
    row = torch.arange(qkv + v_heads * v_dim).float()
    gates = torch.arange(2 * v_heads).float()
    packed, z, b, a = fused_qkvzba_split_reshape_cat_contiguous(
        torch.stack([row, row + 0.5]), torch.stack([gates, gates + 0.5]),
        qk_heads, v_heads, qk_dim, v_dim,
    )  # fmt: skip
    assert packed[1].tolist() == (row[:qkv] + 0.5).tolist()
    assert z.shape == (2, v_heads, v_dim)
    assert z[0].flatten().tolist() == row[qkv:].tolist()
    assert b[0].tolist() == gates[:v_heads].tolist()
    assert a[0].tolist() == gates[v_heads:].tolist()
    assert all(part.is_contiguous() for part in (packed, z, b, a))


@pytest.mark.parametrize("inplace", [False, True])
def test_output_gate(randn: Draw, inplace: bool) -> None:
    attention, wide = randn(3, 8), randn(3, 2, 8)
    gate = wide[:, :, ::2]  # (tokens, heads, head_dim), strided
    want = attention.double() / (1 + torch.exp(-gate.reshape(3, 8).double()))
    mine = fused_sigmoid_mul(attention, gate, inplace=inplace)
    torch.testing.assert_close(mine.double(), want, rtol=1e-5, atol=1e-6)
    assert (mine is attention) == inplace
    with pytest.raises(NotImplementedError, match="quantised"):
        fused_sigmoid_mul(attention, gate, quant=True)
