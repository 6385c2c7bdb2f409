"""One validated set of options, and how it travels to child processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cachepawl.errors import ConfigError

BACKEND = "cachepawl"
"""Our name among SGLang's prefix caches (`--radix-cache-backend`)."""
ENVIRONMENT = "CACHEPAWL_CONFIG"
"""Environment variable that carries the options, as JSON, to every child process.

Its absence means that cachepawl is installed but not wanted: nothing is changed.
"""


class Options(BaseModel):
    """What `--cachepawl-*` flags say.  Field names are the flags' names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device_gb: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The arena's bytes in GiB, exactly; None takes what --mem-fraction-static leaves."""
    policy: Literal["lru"] = "lru"
    checkpoint_dtype: Literal["auto", "int8", "fp8"] = "auto"
    """How states kept for reuse are stored: as they are, or compressed."""
    check_level: Literal[0, 1, 2] = 0
    """0 no checks, 1 counters at every step, 2 everything at every step."""
    split_prefill: bool = True
    """End a prefill chunk early where one more snapshot makes a later hit possible."""
    map: bool = False
    """Serve pictures of the cache at `/cachepawl/map`."""
    poison_freed: bool = False
    """Test option: fill every freed frame with NaN."""
    corrupt_restored_state: bool = False
    """Test option, a negative control: a hit restores a zeroed state."""
    decision_log: str | None = None
    """Test option: append every decision of the cache to this file."""
    trace: str | None = None
    """Record every call that changes the cache to this file."""
    trace_mb: float = Field(default=1024.0, gt=0, allow_inf_nan=False)
    """MiB of a file of the recording, after which the next one is begun."""
    trace_salt: str | None = None
    """Salt of the recording's hashes; None takes a random one."""
    allow_other_sglang: bool = False
    """Run although the SGLang version or the fingerprint of a patched target differs."""

    @property
    def device_bytes(self) -> int | None:
        return None if self.device_gb is None else int(self.device_gb * 2**30)


def make_options(**values: object) -> Options:
    """Options from flags; ConfigError names the flag, the value and what is allowed."""
    try:
        return Options.model_validate(values)
    except ValidationError as error:
        raise _explain(error) from None


def parse_options(text: str) -> Options:
    """Options from JSON; ConfigError as `make_options`."""
    try:
        return Options.model_validate_json(text)
    except ValidationError as error:
        raise _explain(error) from None


def _explain(error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    flag = f"--cachepawl-{field.replace('_', '-')}" if field else ENVIRONMENT
    return ConfigError(f"{flag} {first.get('input')!r}: {first['msg']}")


def options_from_environment(environ: Mapping[str, str] = os.environ) -> Options | None:
    """The options of this process tree, or None when cachepawl is not wanted here."""
    text = environ.get(ENVIRONMENT)
    return parse_options(text) if text else None
