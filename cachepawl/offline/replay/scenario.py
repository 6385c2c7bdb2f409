"""What is replayed: a model on so many bytes, under a policy, as a server would run it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import InputError
from cachepawl.offline.replay.tiers import DeviceAlone, Link, Tiers, WithHost
from cachepawl.offline.replay.ways import Way, way_of
from cachepawl.offload.writing import WRITE_POLICIES
from cachepawl.policy import DEFAULT, POLICIES
from cachepawl.policy.base import EvictionPolicy
from cachepawl.pool.from_spec import geometry_from_spec
from cachepawl.pool.geometry import Geometry
from cachepawl.specs import ModelSpec

Answers = Literal["hold", "publish"]
GIB = 1 << 30


@dataclass(frozen=True)
class Scenario:
    """One replay; lengths are tokens, of one of `tp` ranks."""

    spec: ModelSpec
    budget: int
    """Bytes of the arena."""
    policy: str = DEFAULT
    page: int = 16
    chunk: int = 8192
    """Most tokens of a prefill chunk."""
    grid: int = 64
    """Tokens between the depths where a state can be taken."""
    running: int = 1
    """Requests in flight at once."""
    answers: Answers = "hold"
    """Whether answers only take room while they run, or stay in the tree after it."""
    tp: int = 1
    checkpoint_dtype: str = "auto"
    """How states that the tree keeps are stored: auto, int8 or fp8."""
    remembered: int = 16 << 20
    """Tokens of what was evicted, at 8 bytes each: to tell it from what never was there."""
    check_level: int = 0
    host: int = 0
    """Bytes of the host's arena; 0 for none."""
    link: float = 50e9
    """Bytes a second, each way."""
    writing: str = "write_through"
    """When something is written to the host."""

    @cached_property
    def geometry(self) -> Geometry:
        """The arena.  ConfigError for a model that it cannot hold."""
        shapes = geometry_from_spec(self.spec, self.page, self.tp)
        return shapes.with_checkpoints(self.checkpoint_dtype).with_budget(self.budget)

    @property
    def label(self) -> str:
        """What tells it from others of the same budget."""
        form = "" if self.checkpoint_dtype == "auto" else f", {self.checkpoint_dtype}"
        host = f" + {self.host / GIB:g} GiB host" if self.host else ""
        return self.policy + form + host

    @cached_property
    def way(self) -> Way:
        """How requests keep states."""
        return way_of(self.spec, self.page, self.grid)

    def check(self) -> None:
        """InputError unless the options fit together and one request fits the bytes."""
        if self.policy not in POLICIES:
            raise InputError(f"policy {self.policy!r}: not one of {', '.join(POLICIES)}")
        if self.chunk % self.page:
            raise InputError(
                f"--chunk {self.chunk}: not a multiple of --page {self.page}; give whole pages"
            )
        if self.grid % self.page:
            raise InputError(
                f"--grid {self.grid}: not a multiple of --page {self.page}; give whole pages"
            )
        if self.chunk < self.grid:
            raise InputError(
                f"--chunk {self.chunk}: less than one step of the grid of states, {self.grid} "
                f"tokens; give at least that"
            )
        if self.host and self.checkpoint_dtype != "auto":
            raise InputError(
                f"--checkpoint-dtype {self.checkpoint_dtype} beside --host-gb: the host tier "
                "copies whole states; give --host-gb 0, or auto"
            )
        geometry, slots = self.geometry, self.way.slots
        needed = 1 + geometry.frames_of_request(2 * self.page, slots)
        if geometry.num_frames < needed:
            least = -(-needed * geometry.frame_bytes * 1000 // GIB) / 1000
            raise InputError(
                f"--device-gb {self.budget / GIB:g}: {geometry.num_frames} frames of "
                f"{geometry.frame_bytes} bytes, and one request of {self.spec.name} needs {needed} "
                f"(padding, {slots} states, its KV); give at least {least:.3f}"
            )
        if self.host and self.host < 2 * geometry.frame_bytes:
            least = -(-2 * geometry.frame_bytes * 1000 // GIB) / 1000
            raise InputError(
                f"--host-gb {self.host / GIB:g}: less than two frames of {geometry.frame_bytes} "
                f"bytes; give at least {least:.3f}, or 0 for no host"
            )

    def make_tiers(self, cache: HybridPrefixCache) -> Tiers:
        """What is beside a cache on the device."""
        if not self.host:
            return DeviceAlone(cache)
        return WithHost(
            cache,
            self.geometry.with_budget(self.host),
            Link(self.geometry, self.link),
            WRITE_POLICIES[self.writing](),
            self.spec.prefill_flops,
        )

    def make_cache(self, policy: EvictionPolicy | None = None) -> HybridPrefixCache:
        """The cache that such a server has, maybe under another policy."""
        return HybridPrefixCache(
            self.geometry,
            states_per_request=self.way.slots,
            policy=policy or POLICIES[self.policy](),
            ghost_tokens=self.remembered,
        )
