"""The first line of a part: what the cache was, and which part of which recording this is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import ConfigError, InputError
from cachepawl.offline.strict_json import parse_object
from cachepawl.offload.options import TierOptions
from cachepawl.offload.tier import HostTier
from cachepawl.offload.transfers import Transfers
from cachepawl.offload.writing import WRITE_POLICIES
from cachepawl.policy import POLICIES
from cachepawl.policy.base import EvictionPolicy
from cachepawl.pool.frames import UNLIMITED
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.record.verbs import FORMAT, VERSION

Count = Annotated[int, Field(ge=0, le=1 << 53)]
Size = Annotated[int, Field(ge=1, le=1 << 32)]
MOST_PAGE = 1 << 16
MOST_FRAMES = 1 << 24
"""Of an arena; the host's truth about a frame is some hundred bytes."""


def _known(name: str) -> str:
    if name not in POLICIES:
        raise PydanticCustomError("policy", "no policy of this cachepawl; known: {known}",
                                  {"known": ", ".join(POLICIES)})  # fmt: skip
    return name


PolicyName = Annotated[str, AfterValidator(_known)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Kv(_Strict):
    """See `cachepawl.pool.geometry.KvShape`."""

    layers: Size
    heads: Size
    head_dim: Size
    v_head_dim: Size
    itemsize: Size


class State(_Strict):
    """See `cachepawl.pool.geometry.StateShape`."""

    layers: Size
    conv_shapes: list[list[Size]]
    conv_itemsize: Size
    temporal_shape: list[Count]
    temporal_itemsize: Size


class Shape(_Strict):
    """See `cachepawl.pool.geometry.Geometry`."""

    kv: Kv
    state: State | None
    page_tokens: Annotated[int, Field(ge=1, le=MOST_PAGE)]
    num_frames: Annotated[int, Field(ge=1, le=MOST_FRAMES)]
    frame_pages: Annotated[int, Field(ge=1, le=MOST_FRAMES)]
    checkpoint_dtype: Literal["int8", "fp8"] | None = None


class Quotas(_Strict):
    """See `cachepawl.offload.options.TierOptions`."""

    write_bytes: Count
    write_bytes_beside_loads: Count
    headroom_frames: Count
    free_frames: Count
    least_gain: Count


class Host(_Strict):
    """A host tier, of the device's shapes."""

    frames: Annotated[int, Field(ge=1, le=MOST_FRAMES)]
    policy: PolicyName
    writing: Literal["write_through", "write_through_selective", "write_back"]
    options: Quotas


class Header(_Strict):
    """A part's first line."""

    format: Literal["cachepawl-trace"]
    version: Literal[1]
    cachepawl: str
    geometry: Shape
    states_per_request: Annotated[int, Field(ge=0, le=1 << 16)]
    page_cap: Count | None
    state_cap: Count | None
    policy: PolicyName
    serving: dict[str, str | int | float | bool | None]
    host: Host | None = None
    """Only where there was a host tier."""
    started: float
    """Unix time of the recording's start, seconds."""
    run: str
    """The same in all parts of a recording."""
    part: Count
    at: Count
    """Milliseconds from the recording's start to this part's."""
    line: Count
    """Lines of calls and notes before this part."""

    def make_geometry(self) -> Geometry:
        """The arena's geometry; ConfigError when there is none of these sizes."""
        shape = self.geometry
        state = None
        if shape.state is not None:
            state = StateShape(
                shape.state.layers,
                tuple(tuple(conv) for conv in shape.state.conv_shapes),
                shape.state.conv_itemsize,
                tuple(shape.state.temporal_shape),
                shape.state.temporal_itemsize,
            )
        kv = KvShape(**shape.kv.model_dump())
        plain = Geometry(
            kv, state, shape.page_tokens, shape.num_frames, frame_pages=shape.frame_pages
        )
        return plain.with_checkpoints(shape.checkpoint_dtype)

    def make_policy(self) -> EvictionPolicy:
        """A fresh policy like the device's."""
        return POLICIES[self.policy]()

    def make_cache(self, policy: EvictionPolicy) -> HybridPrefixCache:
        """A fresh cache like the recorded one was at the start, under such a policy."""
        return HybridPrefixCache(
            self.make_geometry(),
            states_per_request=self.states_per_request,
            policy=policy,
            page_cap=UNLIMITED if self.page_cap is None else self.page_cap,
            state_cap=UNLIMITED if self.state_cap is None else self.state_cap,
        )

    def make_tier(self, device: HybridPrefixCache, moving: Transfers) -> HostTier:
        """A fresh host tier of a fresh cache, as the recorded one was at the start."""
        host = self.host
        assert host is not None, "no host tier was recorded"
        plain = device.geometry
        same = host.policy == device.policy.name
        return HostTier(
            device,
            plain.with_budget(host.frames * plain.frame_bytes),
            moving,
            WRITE_POLICIES[host.writing](),
            **({} if same else {"policy": POLICIES[host.policy]()}),
            options=TierOptions(**host.options.model_dump()),
        )


def parse_header(text: str, where: str) -> Header:
    """A part's first line; InputError names the field and the value that cannot be."""
    raw = parse_object(text, where)
    if raw.get("format") != FORMAT:
        found = raw.get("format")
        raise InputError(
            f"{where}: format {found!r}, not {FORMAT!r}: not a log of --cachepawl-trace"
        )
    if raw.get("version") != VERSION:
        raise InputError(
            f"{where}: version {raw.get('version')!r}; this cachepawl reads {VERSION}; "
            "use the cachepawl that wrote it"
        )
    try:
        header = Header.model_validate(raw)
        frame = header.make_geometry()
    except ValidationError as error:
        raise InputError(f"{where}: {_explain(error)}") from None
    except ConfigError as error:
        raise InputError(f"{where}: geometry: {error}") from None
    if not 1 <= frame.page_bytes <= frame.frame_bytes or frame.pages_per_frame > MOST_FRAMES:
        raise InputError(
            f"{where}: geometry: {frame.pages_per_frame} pages a frame; from 1 to {MOST_FRAMES}"
        )
    return header


def _explain(error: ValidationError) -> str:
    first: Any = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    value = "" if first["type"] == "missing" else f" {str(first.get('input'))[:80]!r}"
    return f"field {field}{value}: {first['msg']}"
