"""The arena's frames as text: one character a frame."""

from __future__ import annotations

from cachepawl.pool.frames import CHECKPOINTS, FREE, KV, SINK, STATE, FrameAllocator

WIDTH = 64
LEGEND = "S state   C compressed states   # full of KV   1-9 tenths of KV   . free   - padding sink"
_FIXED = {SINK: "-", FREE: ".", STATE: "S", CHECKPOINTS: "C"}


def draw_frames(frames: FrameAllocator, most: int) -> str:
    """A map of at most `most` frames, `WIDTH` a line, and its legend.  Read only."""
    shown = min(most, frames.num_frames)
    marks = "".join(_mark(frames, frame) for frame in range(shown))
    lines = [f"{at:6d} {marks[at : at + WIDTH]}" for at in range(0, shown, WIDTH)]
    if shown < frames.num_frames:
        lines.append(f"       ... and {frames.num_frames - shown} more")
    return "\n".join([*lines, LEGEND])


def _mark(frames: FrameAllocator, frame: int) -> str:
    kind = frames.kind[frame]
    if kind != KV:
        return _FIXED[kind]
    used = frames.pages_in_use(frame)
    if used == frames.pages_per_frame:
        return "#"
    return str(max(1, 10 * used // frames.pages_per_frame))
