"""Typed access to a config.json, with errors that name file, field, value and remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from cachepawl.errors import ConfigError
from cachepawl.specs.dtypes import FP32, Dtypes, ElementType, element_type

MAX_NUMBER = 10**9
"""No field of a real model is larger; a larger one is a typing error."""
MAX_LAYERS = 4096
"""Layers are listed one by one, so their number is bounded."""


class Fields:
    """One JSON object of a configuration file called `origin`, e.g. "config.json"."""

    def __init__(self, values: Mapping[str, object], origin: str, inside: str = "") -> None:
        self._values = values
        self._origin = origin
        self._inside = inside

    def has(self, name: str) -> bool:
        """Whether a field is there and not null."""
        return self._values.get(name) is not None

    def refuse(self, name: str, problem: str) -> NoReturn:
        """ConfigError about a field: its value, the problem, which holds the remedy."""
        value = repr(self._values.get(name))
        shown = value if len(value) <= 80 else value[:77] + "..."
        state = shown if name in self._values else "missing"
        raise ConfigError(f"{self._origin}: {self._inside}{name}: {state}; {problem}")

    def positive(self, *names: str, default: int | None = None) -> int:
        """The first field of these that is there, a whole number of 1 or more."""
        return self._number(names, 1, default)

    def count(self, *names: str, default: int | None = None) -> int:
        """As `positive`, and 0 is allowed."""
        return self._number(names, 0, default)

    def _number(self, names: Sequence[str], least: int, default: int | None) -> int:
        for name in names:
            if self.has(name):
                return self._whole(name, self._values[name], least)
        if default is None:
            others = f" (or {', '.join(names[1:])})" if names[1:] else ""
            self.refuse(names[0], f"give a whole number of at least {least}{others}")
        return default

    def _whole(self, name: str, value: object, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(name, "give a whole number")
        if not least <= value <= MAX_NUMBER:
            self.refuse(name, f"give a whole number from {least} to {MAX_NUMBER}")
        return value

    def positive_or(self, name: str, derived: int) -> int:
        """As `positive`; `derived` when absent, null, -1 or "auto"."""
        if not self.has(name) or self._values[name] in (-1, "auto"):
            return derived
        return self.positive(name)

    def layers(self, *names: str) -> int:
        """A number of layers, at most `MAX_LAYERS`."""
        layers = self.positive(*names)
        if layers > MAX_LAYERS:
            self.refuse(names[0], f"give at most {MAX_LAYERS} layers")
        return layers

    def quotient(self, name: str, whole: int, divisor: str, parts: int) -> int:
        """`whole / parts` for a field that is derived when absent; must divide."""
        if whole % parts:
            self.refuse(
                name, f"{whole} does not divide by {divisor} {parts}; give {name} explicitly"
            )
        return whole // parts

    def text(self, name: str) -> str:
        """A string."""
        value = self._values.get(name)
        if not isinstance(value, str):
            self.refuse(name, "give a string")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """true or false; `default` when absent."""
        if not self.has(name):
            return default
        value = self._values[name]
        if not isinstance(value, bool):
            self.refuse(name, "give true or false")
        return value

    def ratio(self, name: str, default: float) -> float:
        """A finite positive number; `default` when absent."""
        if not self.has(name):
            return default
        value = self._values[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(name, "give a number")
        if not 0 < value <= MAX_NUMBER:
            self.refuse(name, f"give a number above 0 and at most {MAX_NUMBER}")
        return float(value)

    def words(self, name: str, known: Mapping[str, str], layers: int | None = None) -> list[str]:
        """A list of strings, each translated by `known`; of `layers` entries if given."""
        value = self._list(name)
        for word in value:
            if not isinstance(word, str) or word not in known:
                self.refuse(name, f"{_short(word)} is not one of: {', '.join(sorted(known))}")
        if layers is not None and len(value) != layers:
            self.refuse(name, f"it has {len(value)} entries for {layers} layers; give one a layer")
        if not 0 < len(value) <= MAX_LAYERS:
            self.refuse(name, f"give 1 to {MAX_LAYERS} entries")
        return [known[str(word)] for word in value]

    def indices(self, name: str, layers: int, first: int = 0) -> frozenset[int]:
        """A list of layer numbers that start at `first`, returned as indices from 0."""
        found = set()
        for item in self._list(name):
            if isinstance(item, bool) or not isinstance(item, int):
                self.refuse(name, "give a list of whole numbers")
            if not first <= item < first + layers:
                self.refuse(name, f"{_short(item)} is no layer of {first}..{first + layers - 1}")
            found.add(item - first)
        return frozenset(found)

    def groups(self, name: str, layers: int) -> list[frozenset[int]]:
        """A list of lists of layer indices; empty when absent."""
        if not self.has(name):
            return []
        rows = self._list(name)
        return [
            Fields({name: row}, self._origin, self._inside).indices(name, layers) for row in rows
        ]

    def _list(self, name: str) -> list[object]:
        value = self._values.get(name)
        if not isinstance(value, list | tuple):
            self.refuse(name, "give a list")
        return list(value)

    def inner(self, name: str) -> Fields:
        """A nested object."""
        value = self._values.get(name)
        if not isinstance(value, Mapping):
            self.refuse(name, "give an object")
        return Fields(value, self._origin, f"{self._inside}{name}.")

    def dtypes(self) -> Dtypes:
        """KV and convolution in the model's own type, the recurrence in the one it names.

        SGLang reads `mamba_ssm_dtype`, Nemotron-H calls it `mamba_ssm_cache_dtype`;
        both default to fp32.
        """
        model = self._dtype("dtype", "torch_dtype", default=Dtypes().kv)
        temporal = self._dtype("mamba_ssm_dtype", "mamba_ssm_cache_dtype", default=FP32)
        return Dtypes(kv=model, conv=model, temporal=temporal)

    def _dtype(self, *names: str, default: ElementType) -> ElementType:
        for name in names:
            if self.has(name):
                try:
                    return element_type(self.text(name))
                except ConfigError as unknown:
                    self.refuse(name, str(unknown))
        return default


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
