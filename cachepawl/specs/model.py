"""A model as the cache sees it: per layer what is kept, in bytes, and what it costs to redo.

    full attention  grows with every token         kv_bytes_per_token
    window          grows up to `window_tokens`    window_bytes_per_token
    state           one size, however long         conv_bytes + temporal_bytes = state_bytes

All byte counts are exact and without the arena's padding (`cachepawl.pool.geometry`),
for one rank of `tp` tensor-parallel ranks.  A layer may hold several mixers side by side
(Falcon-H1, Hymba) or one after the other (Zamba2).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

from cachepawl.errors import ConfigError
from cachepawl.specs.attention import Attention, LatentAttention
from cachepawl.specs.dtypes import Dtypes
from cachepawl.specs.gdn import GatedDelta
from cachepawl.specs.kda import KimiDelta
from cachepawl.specs.mamba1 import Mamba1
from cachepawl.specs.mamba2 import Mamba2
from cachepawl.specs.parts import StateLayer, StateParts
from cachepawl.specs.rglru import RgLru
from cachepawl.specs.shortconv import ShortConv
from cachepawl.specs.window import WindowAttention, causal_pairs

State = Mamba1 | Mamba2 | GatedDelta | KimiDelta | RgLru | ShortConv
Full = Attention | LatentAttention
Mixer = Full | WindowAttention | State


@dataclass(frozen=True)
class LayerSpec:
    """One layer: its mixers, and the weights a token is multiplied with.

    `weights` counts matrix elements of mixers and MLP, of experts only the active ones;
    embeddings, norms and the head are left out.
    """

    mixers: tuple[Mixer, ...]
    weights: int


@dataclass(frozen=True)
class ModelSpec:
    """All layers in order.  Raises ConfigError when two windows differ in size."""

    name: str
    hidden: int
    layers: tuple[LayerSpec, ...]
    dtypes: Dtypes = field(default_factory=Dtypes)

    def __post_init__(self) -> None:
        windows = sorted({w.window for w in self.windows})
        if len(windows) > 1:
            raise ConfigError(
                f"{self.name}: windows of {windows} tokens; one window size per model is supported"
            )

    @cached_property
    def mixers(self) -> tuple[Mixer, ...]:
        """Every mixer of every layer, in order."""
        return tuple(mixer for layer in self.layers for mixer in layer.mixers)

    @cached_property
    def full_attention(self) -> tuple[Full, ...]:
        return tuple(m for m in self.mixers if isinstance(m, Full))

    @cached_property
    def windows(self) -> tuple[WindowAttention, ...]:
        return tuple(m for m in self.mixers if isinstance(m, WindowAttention))

    @cached_property
    def states(self) -> tuple[StateLayer, ...]:
        return tuple(m for m in self.mixers if isinstance(m, State))

    @property
    def window_tokens(self) -> int:
        """Tokens that the windows see; 0 without windows."""
        return self.windows[0].window if self.windows else 0

    def with_dtypes(self, dtypes: Dtypes) -> ModelSpec:
        """The same model with other element types."""
        return replace(self, dtypes=dtypes)

    def kv_bytes_per_token(self, tp: int = 1) -> int:
        """Bytes a token adds over all full-attention layers."""
        return sum(a.entry_bytes(self.dtypes.kv, tp) for a in self.full_attention)

    def window_bytes_per_token(self, tp: int = 1) -> int:
        """Bytes a token adds over all window layers, while it is inside the window."""
        return sum(w.attention.entry_bytes(self.dtypes.kv, tp) for w in self.windows)

    def state_parts(self, tp: int = 1) -> tuple[StateParts, ...]:
        """Shapes of every state layer, in order; ConfigError when `tp` cannot share one."""
        return tuple(state.parts(tp) for state in self.states)

    def conv_bytes(self, tp: int = 1) -> int:
        """Bytes of one state's convolution parts over all layers."""
        return sum(parts.conv_bytes(self.dtypes.conv) for parts in self.state_parts(tp))

    def temporal_bytes(self, tp: int = 1) -> int:
        """Bytes of one state's recurrent parts over all layers."""
        return sum(parts.temporal_bytes(self.dtypes.temporal) for parts in self.state_parts(tp))

    def state_bytes(self, tp: int = 1) -> int:
        """Bytes of one state."""
        return self.conv_bytes(tp) + self.temporal_bytes(tp)

    def sequence_bytes(self, tokens: int, tp: int = 1) -> int:
        """Bytes that hold a sequence of `tokens` tokens: KV, window and one state."""
        window = min(tokens, self.window_tokens) * self.window_bytes_per_token(tp)
        return tokens * self.kv_bytes_per_token(tp) + window + self.state_bytes(tp)

    def tokens_per_state(self, tp: int = 1) -> int | None:
        """Whole tokens of KV in the bytes of one state; None without full attention."""
        entry = self.kv_bytes_per_token(tp)
        return self.state_bytes(tp) // entry if entry else None

    @cached_property
    def weights(self) -> int:
        """Matrix elements a token is multiplied with, head and embeddings left out."""
        return sum(layer.weights for layer in self.layers)

    @cached_property
    def _token_flops(self) -> int:
        """FLOPs of a token that do not depend on the tokens before it."""
        return 2 * self.weights + sum(state.scan_flops for state in self.states)

    @cached_property
    def _pair_flops(self) -> int:
        """FLOPs of a (query, key) pair over all full attention layers."""
        return sum(a.pair_flops for a in self.full_attention)

    def prefill_flops(self, tokens: int, prefix: int = 0) -> int:
        """FLOPs to prefill `tokens` tokens after `prefix` cached ones, all ranks together.

            2 * weights * tokens                  every matrix element, a multiply and an add
          + pair_flops * pairs                    q.k and p.v over the causal (query, key) pairs
          + scan_flops * tokens                   convolutions and recurrences

        Norms, gates, rotary embeddings, softmax and the head (run once, for the last
        token) are left out.  A hit of `n` tokens saves `prefill_flops(n)`.  Source: the
        counting rule of arXiv:2001.08361, section 2.1; recurrences as their files say.
        """
        pairs = causal_pairs(tokens, prefix)
        seen = causal_pairs(tokens, prefix, self.window_tokens) if self.windows else 0
        return (
            tokens * self._token_flops
            + pairs * self._pair_flops
            + seen * sum(w.attention.pair_flops for w in self.windows)
        )
