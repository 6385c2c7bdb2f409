"""A picture of a cache as `cachepawl.observe.snapshot` makes it, read strictly.

A picture whose parts do not add up is refused: it was changed, or is a bug of ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cachepawl.errors import InputError
from cachepawl.observe.cells import KINDS
from cachepawl.observe.snapshot import FORMAT, MOST_CELLS, MOST_NODES, VERSION
from cachepawl.offline.strict_json import read_object

Count = Annotated[int, Field(ge=0, le=1 << 60)]
Size = Annotated[int, Field(ge=1, le=1 << 60)]
MOST_FILE = 64 << 20
"""Bytes of a picture, in a file or from a server: the largest has less than a million."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Geometry(_Strict):
    """Sizes; `frames` with the sink."""

    frames: Size
    frame_bytes: Size
    page_tokens: Size
    page_bytes: Size
    state_bytes: Count
    kept_bytes: Size | None
    """Of a state in the tree, where those are compressed."""


class Entry(_Strict):
    """A node, or a summary of several; see `cachepawl.observe.outline`.  Depths in tokens."""

    parent: Annotated[int, Field(ge=-1, le=MOST_NODES)]
    nodes: Size
    start: Count
    end: Count
    tokens: Count
    locked_tokens: Count
    states: Count
    locked_states: Count
    kv_locks: Count
    state_locks: Count
    kv_rank: Count | None
    state_rank: Count | None
    namespace: Annotated[str, Field(pattern=r"^[0-9a-f]{0,64}$")] | None

    @property
    def is_summary(self) -> bool:
        return self.nodes > 1

    @model_validator(mode="after")
    def _adds_up(self) -> Entry:
        length = self.end - self.start
        _require(self.start < self.end, "the edge ends where it starts, or before")
        _require(self.tokens >= length, "fewer tokens than from start to end")
        _require(self.locked_tokens <= self.tokens, "more locked tokens than tokens")
        _require(self.locked_states <= self.states <= self.nodes, "more states than there can be")
        if not self.is_summary:
            _require(self.tokens == length, "other tokens than from start to end")
            _require(self.locked_tokens in (0, self.tokens), "a node is locked in part")
        return self


class Tree(_Strict):
    """Entries, parents before children."""

    nodes: Count
    entries: Annotated[list[Entry], Field(max_length=MOST_NODES)]

    @model_validator(mode="after")
    def _adds_up(self) -> Tree:
        for i, entry in enumerate(self.entries):
            at, above = f"entry {i}", None
            _require(entry.parent < i, f"{at}: its parent comes after it")
            if entry.parent >= 0:
                above = self.entries[entry.parent]
                _require(not above.is_summary, f"{at}: hangs under a summary")
            _require(entry.start == (above.end if above else 0), f"{at}: starts elsewhere")
            named = above is None and not entry.is_summary
            _require((entry.namespace is not None) == named, f"{at}: a namespace, or none")
        nodes = self.total("nodes")
        _require(nodes == self.nodes, f"the entries stand for {nodes} nodes")
        return self

    def total(self, name: str) -> int:
        """The sum of a field over all entries."""
        return sum(getattr(entry, name) for entry in self.entries)


class Cells(_Strict):
    """Bytes of `frames_each` frames in a row, by `KINDS`."""

    frames_each: Size
    bytes: Annotated[
        list[Annotated[list[Count], Field(min_length=len(KINDS), max_length=len(KINDS))]],
        Field(min_length=1, max_length=MOST_CELLS),
    ]


class Picture(_Strict):
    """All of it; `bytes` by `KINDS`."""

    format: Literal["cachepawl-map"]
    version: Annotated[int, Field(ge=VERSION, le=VERSION)]
    geometry: Geometry
    requests: Count
    bytes: dict[str, Count]
    tree: Tree
    cells: Cells
    stats: Annotated[dict[Annotated[str, Field(max_length=80)], Count], Field(max_length=200)]
    host: Picture | None
    """Of the host tier."""

    @property
    def total_bytes(self) -> int:
        return self.geometry.frames * self.geometry.frame_bytes

    @property
    def token_bytes(self) -> int:
        """Of the KV of one token."""
        return self.geometry.page_bytes // self.geometry.page_tokens

    @property
    def held(self) -> list[tuple[str, int]]:
        """`bytes` in the order of `KINDS`, which a file need not have."""
        return [(kind, self.bytes[kind]) for kind in KINDS]

    @model_validator(mode="after")
    def _adds_up(self) -> Picture:
        _require(self.host is None or self.host.host is None, "a host tier of a host tier")
        _require(set(self.bytes) == set(KINDS), "other kinds")
        self._sizes_fit()
        self._cells_add_up()
        self._tree_adds_up()
        return self

    def _sizes_fit(self) -> None:
        g = self.geometry
        _require(g.page_bytes % g.page_tokens == 0, "a page is not whole tokens")
        _require(g.frame_bytes % g.page_bytes == 0, "a frame is not whole pages")
        _require(g.state_bytes <= g.frame_bytes, "a state is larger than a frame")

    def _cells_add_up(self) -> None:
        each, cells = self.cells.frames_each, self.cells.bytes
        frames = self.geometry.frames
        _require(len(cells) == -(-frames // each), f"{frames} frames are not {len(cells)} cells")
        for i, cell in enumerate(cells):
            here = min(each, frames - i * each) * self.geometry.frame_bytes
            _require(sum(cell) == here, f"cell {i}: {sum(cell)} bytes of {here}")
        for kind, column in zip(KINDS, zip(*cells, strict=True), strict=True):
            _require(sum(column) == self.bytes[kind], f"{kind}: the cells have {sum(column)} bytes")

    def _tree_adds_up(self) -> None:
        tree, held = self.tree, self.bytes
        locked, states = tree.total("locked_tokens"), tree.total("locked_states")
        page = self.geometry.page_tokens
        state = self.geometry.kept_bytes or self.geometry.state_bytes
        for i, entry in enumerate(tree.entries):
            whole = entry.end % page == entry.tokens % page == 0
            _require(whole, f"tree.entries.{i}: not whole pages of {page} tokens")
        for kind, found in (
            ("kv_locked", locked * self.token_bytes),
            ("kv_evictable", (tree.total("tokens") - locked) * self.token_bytes),
            ("states_locked", states * state),
            ("states_evictable", (tree.total("states") - states) * state),
        ):
            _require(found == held[kind], f"{kind}: the tree has {found} bytes")


def read_picture(path: Path) -> Picture:
    """The picture that a file holds; InputError, one line, for anything else."""
    return parse_picture(read_object(path, MOST_FILE), str(path))


def parse_picture(raw: dict[str, Any], where: str) -> Picture:
    """The picture in an object; InputError names `where` it is from, the field and the value."""
    if raw.get("format") != FORMAT:
        raise InputError(
            f"{where}: format {str(raw.get('format'))[:40]!r}, not {FORMAT!r}: neither a recording "
            "nor a saved map; make one with cachepawl map --format json"
        )
    if raw.get("version") != VERSION:
        raise InputError(
            f"{where}: version {str(raw.get('version'))[:40]}; this cachepawl reads {VERSION}; use "
            "the cachepawl that wrote it"
        )
    try:
        return Picture.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{where}: {_explain(error)}") from None


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise ValueError(why)


def _explain(error: ValidationError) -> str:
    first: Any = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"])) or "the whole"
    why = first["msg"].removeprefix("Value error, ")
    value = first["input"]
    shown = f" {str(value)[:40]!r}" if not isinstance(value, dict | BaseModel) else ""
    return f"{field}{shown}: {why}"
