"""One validated set of options, and how it travels to child processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cachepawl.errors import ConfigError
from cachepawl.offload.host_budget import parse_host_size
from cachepawl.offload.layers import GROUP_BYTES
from cachepawl.policy import DEFAULT, POLICIES
from cachepawl.snapshots import ANSWER_INTERVAL

BACKEND = "cachepawl"
"""Our name among SGLang's prefix caches (`--radix-cache-backend`)."""
ENVIRONMENT = "CACHEPAWL_CONFIG"
"""Environment variable that carries the options, as JSON, to every child process.

Its absence means that cachepawl is installed but not wanted: nothing is changed.
"""

MOST_INTERVAL = 1 << 20
"""Tokens: no answer is longer, so a larger interval would be none at all."""


class Options(BaseModel):
    """What `--cachepawl-*` flags say.  Field names are the flags' names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device_gb: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The arena's bytes in GiB, exactly; None takes what --mem-fraction-static leaves."""
    host_gb: str | None = None
    """The host tier's bytes on each rank: GiB, or `2x` for twice the arena's; None has no tier."""
    host_remote: bool = False
    """The host tier's memory may be on another NUMA node than the GPU."""
    write_policy: Literal["write_through", "write_through_selective", "write_back"] = (
        "write_through"
    )
    """When what is cached is copied to the host tier."""
    policy: str = DEFAULT
    """A name of `cachepawl.policy.POLICIES`."""
    policy_history: str | None = None
    """Where a policy that learns keeps what it learned, from one start to the next."""
    checkpoint_dtype: Literal["auto", "int8", "fp8"] = "auto"
    """How states kept for reuse are stored: as they are, or compressed."""
    check_level: Literal[0, 1, 2] = 0
    """0 no checks, 1 counters at every step, 2 everything at every step."""
    split_prefill: bool = True
    """End a prefill chunk early where one more snapshot makes a later hit possible."""
    answer_interval: int | None = Field(default=ANSWER_INTERVAL)
    """Tokens between snapshots of an answer, rounded up to whole pages; None: as SGLang."""
    message_marks: bool = True
    """Take a snapshot where the first user speaks, and where a request asks for one."""
    turn_opening: tuple[int, ...] = ()
    """Token ids that open a user's turn: the launcher reads them from the chat template."""
    map: bool = False
    """Serve pictures of the cache at `/cachepawl/map`."""
    movement: Literal["auto", "torch", "triton"] = "auto"
    """Who moves the arena's bytes; auto: Triton kernels on a GPU that they compile on."""
    poison_freed: bool = False
    """Test option: fill every freed frame with NaN."""
    corrupt_restored_state: bool = False
    """Test option, a negative control: a hit restores a zeroed state."""
    host_faults: str | None = None
    """Test option: the host tier's transfers fail by this script."""
    host_corrupt: Literal["pages", "states"] | None = None
    """Test option, a negative control: what is loaded of these arrives as zeros."""
    host_blind: bool = False
    """Test option, a negative control: no layer waits for its bytes."""
    host_group_bytes: int = Field(default=GROUP_BYTES, gt=0)
    """Test option: least bytes of the groups of layers that a load is cut into."""
    host_layerwise: bool = False
    """A request begins while its prefix is loaded; each layer waits for its own bytes."""
    host_slow: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Test option: seconds that every copy of a transfer takes longer."""
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

    @field_validator("host_gb")
    @classmethod
    def _is_a_size(cls, text: str | None) -> str | None:
        if text is not None:
            parse_host_size(text)
        return text

    @field_validator("policy")
    @classmethod
    def _is_a_policy(cls, name: str) -> str:
        if name not in POLICIES:
            known = ", ".join(POLICIES)
            raise ConfigError(f"--cachepawl-policy {name!r}: no such policy; give one of {known}")
        return name

    @field_validator("answer_interval")
    @classmethod
    def _is_an_interval(cls, tokens: int | None) -> int | None:
        if tokens is not None and not 1 <= tokens <= MOST_INTERVAL:
            raise ConfigError(
                f"--cachepawl-answer-interval {tokens}: give 1 to {MOST_INTERVAL} tokens, or "
                f"`sglang` for SGLang's own"
            )
        return tokens

    @field_validator("policy_history", "trace", "decision_log")
    @classmethod
    def _is_a_path(cls, path: str | None, info: ValidationInfo) -> str | None:
        if path == "":
            flag = f"--cachepawl-{str(info.field_name).replace('_', '-')}"
            raise ConfigError(f"{flag} '': an empty path names no file; give one, or drop the flag")
        return path

    @model_validator(mode="after")
    def _history_fits(self) -> Options:
        if self.policy_history is None:
            return self
        flag = f"--cachepawl-policy-history {self.policy_history}"
        if not self.learns:
            able = " or ".join(name for name, made in POLICIES.items() if made.learns)
            raise ConfigError(
                f"{flag}: policy {self.policy} learns nothing; use {able}, or drop it"
            )
        if self.trace is not None:
            raise ConfigError(
                f"{flag}: a recording has to begin with a policy that knows nothing, or it could "
                f"not be run again; drop this or --cachepawl-trace"
            )
        return self

    @property
    def learns(self) -> bool:
        """Whether the policy wants to hear of requests, and when they came."""
        return POLICIES[self.policy].learns

    @property
    def device_bytes(self) -> int | None:
        return None if self.device_gb is None else int(self.device_gb * 2**30)

    def host_bytes(self, device_bytes: int) -> int | None:
        """Bytes of a rank's host tier beside an arena of `device_bytes`; None has no tier."""
        return None if self.host_gb is None else parse_host_size(self.host_gb).of(device_bytes)


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
    if isinstance(why := first.get("ctx", {}).get("error"), ConfigError):
        return why  # of options that do not fit together
    field = ".".join(str(part) for part in first["loc"])
    flag = f"--cachepawl-{field.replace('_', '-')}" if field else ENVIRONMENT
    return ConfigError(f"{flag} {first.get('input')!r}: {first['msg']}")


def options_from_environment(environ: Mapping[str, str] = os.environ) -> Options | None:
    """The options of this process tree, or None when cachepawl is not wanted here."""
    text = environ.get(ENVIRONMENT)
    return parse_options(text) if text else None
