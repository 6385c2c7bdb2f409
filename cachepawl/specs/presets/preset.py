"""A published model's configuration, with where its numbers are from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from cachepawl.specs.hf.read import spec_of
from cachepawl.specs.model import ModelSpec


class Checked(Enum):
    """What stands behind a preset's numbers."""

    INSTALLED = "compared by a test with an installed package or a recorded run"
    QUOTED = "read in a public copy of the configuration; not comparable here"


@dataclass(frozen=True)
class Preset:
    """`config` holds the published fields the reader needs, under their published names.

    `source` says where they were read.  `unverified` names the fields that no source
    found here states: they are from memory, or carried over from a sibling model.
    """

    name: str
    config: Mapping[str, object]
    source: str
    checked: Checked
    unverified: tuple[str, ...] = ()

    @property
    def verified(self) -> bool:
        """Whether a test compares every number with an independent source."""
        return self.checked is Checked.INSTALLED and not self.unverified

    def spec(self) -> ModelSpec:
        """The model's spec."""
        return spec_of(self.config, f"preset {self.name}", self.name)
