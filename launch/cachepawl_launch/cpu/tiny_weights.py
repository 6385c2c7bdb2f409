"""Random weights under which a model's output depends visibly on its states.

With the usual initialisation the output distribution is close to uniform and hardly moves when
a state is lost. Here every matrix keeps the scale of its input, the head is sharpened, and the
decays range from a few tokens to thousands, so that what was read long ago still counts.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SEED = 20260101
_HEAD_GAIN = 3.0
# Norms that multiply by one plus their weight: the weight itself is drawn around zero.
_ONE_PLUS_WEIGHT = {
    "qwen3_5_text": ("layernorm.weight", "q_norm.weight", "k_norm.weight", "model.norm.weight"),
}


def write_weights(folder: Path) -> None:
    """Write ``model.safetensors`` for the ``config.json`` in `folder`. Same bytes every time."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(SEED)
    tensors = {
        name: _draw(name, tuple(parameter.shape), generator)
        for name, parameter in sorted(model.named_parameters())
    }
    for name in tensors:
        if name.endswith(_ONE_PLUS_WEIGHT.get(config.model_type, ())):
            tensors[name] -= 1.0
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _draw(name: str, shape: tuple[int, ...], generator: "torch.Generator") -> "torch.Tensor":
    """Draw one parameter; the last dimension of a matrix or a convolution is its fan-in."""
    import torch

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(shape, generator=generator) * (high - low) + low

    if name.endswith("A_log"):
        return uniform(-4.0, 1.0)
    if name.endswith("dt_bias"):
        return uniform(-3.0, 0.0)
    normal = torch.randn(shape, generator=generator)
    if len(shape) >= 2:
        gain = _HEAD_GAIN if name.startswith("lm_head") else 1.0
        return normal * (gain / shape[-1] ** 0.5)
    if name.endswith("bias"):
        return normal * 0.1
    return 1.0 + normal * 0.1
