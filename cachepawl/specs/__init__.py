"""Model specs: the byte arithmetic of attention, window and state layers.  No torch."""

from cachepawl.specs.dtypes import Dtypes, ElementType, element_type
from cachepawl.specs.hf.read import read_config, spec_of
from cachepawl.specs.model import LayerSpec, ModelSpec

__all__ = [
    "Dtypes",
    "ElementType",
    "LayerSpec",
    "ModelSpec",
    "element_type",
    "read_config",
    "spec_of",
]
