"""I1 of the frames: every counter, list and mark against the bitmaps."""

from __future__ import annotations

from cachepawl.pool.frame_table import CHECKPOINTS, FREE, KV, STATE, FrameTable


def frame_violations(frames: FrameTable) -> list[str]:
    """Counters against the bitmaps, one line a contradiction.  Read only; walks all frames."""
    kv = [f for f in range(frames.num_frames) if frames.kind[f] == KV]
    rest = [f for f in range(frames.num_frames) if frames.kind[f] != KV]
    held = frames._reserved.values()
    full = frames.pages_per_frame
    checks: dict[str, tuple[object, object]] = {
        "frames in all": (
            frames.num_frames - 1,
            len(frames._free) + frames.kv_frames + frames.states,
        ),
        "KV frames": (frames.kv_frames, len(kv)),
        "states": (
            frames.states,
            frames.kind.count(STATE) + frames.kind.count(CHECKPOINTS),
        ),
        "free frames": (
            list(frames._free),
            [f for f in range(frames.num_frames) if frames.kind[f] == FREE],
        ),
        "KV pages": (frames.kv_pages, sum(frames._used[f].bit_count() for f in kv)),
        "pages per frame": (frames._count, [used.bit_count() for used in frames._used]),
        "pages outside KV frames": (0, sum(frames._used[f] | frames._held[f] for f in rest)),
        "empty KV frames": ([], [f for f in kv if not frames._count[f]]),
        "partial frames": (
            list(frames._partial),
            sorted(
                (-taken, f)
                for f in kv
                if (taken := (frames._used[f] | frames._held[f]).bit_count()) < full
            ),
        ),
        "pinned pages": (frames.pinned_pages, sum(frames._pinned)),
        "pinned frames": (frames.pinned_frames, sum(p > 0 for p in frames._pinned)),
        "frames with impossible pins": (
            [],
            [f for f in range(frames.num_frames) if not 0 <= frames._pinned[f] <= frames._count[f]],
        ),
        "reserved pages": (frames._held_pages, sum(h.bit_count() for h in frames._held)),
        "reservations": (
            frames._held_pages,
            sum(stop - start for start, stop in held),
        ),
        "frames held still without pages": ([], [f for f in frames._still if not frames._count[f]]),
        "reserved pages in use": (
            0,
            sum((u & h).bit_count() for u, h in zip(frames._used, frames._held, strict=True)),
        ),
    }
    return [f"I1 {name}: {a} != {b}" for name, (a, b) in checks.items() if a != b]
