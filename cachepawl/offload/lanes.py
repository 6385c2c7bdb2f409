"""A lane runs copies one after another beside everything else: the seam under streams.  No torch.

    CudaLane      a stream                                      (cuda_lane.py)
    ThreadLane    a worker thread: as asynchronous as a stream, on a CPU
    InlineLane    runs at once: for a CPU where nothing needs to overlap

A mark is a point in a lane, or in what the caller itself launches.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

Work = Callable[[], None]


class Mark(Protocol):
    """A point that work reaches when everything before it has ended."""

    def reached(self) -> bool:
        """Never blocks.  Raises what the work raised."""

    def hold(self) -> None:
        """What the caller launches from here on runs after this point.

        On a GPU the current stream waits and the host goes on; on a CPU, where the caller
        computes itself, the caller waits.
        """

    def wait(self) -> None:
        """The host waits.  Raises nothing: `reached` tells of failures."""


class Lane(Protocol):
    """Runs work in the order it is given, never before `after` was reached."""

    def run(self, steps: Sequence[Work], after: Mark) -> list[Mark]:
        """Run the steps in order; one mark behind each.  Returns without waiting for them.

        Where the lane itself fails it raises, and nothing of the call is under way any more.
        A step that raises is not retried; its mark and those of the steps behind it, which do
        not run, raise the same.
        """

    def close(self) -> None:
        """Ends when everything given has run; nothing may be given afterwards."""


class Now:
    """The mark of a caller that computes itself: it is always reached."""

    def reached(self) -> bool:
        return True

    def hold(self) -> None:
        pass

    def wait(self) -> None:
        pass


NOW = Now()


class Failed:
    """The mark of a step that raised before anything of it was under way."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def reached(self) -> bool:
        raise self._error

    def hold(self) -> None:
        pass

    def wait(self) -> None:
        pass


class InlineLane:
    """Runs steps where they are given."""

    def run(self, steps: Sequence[Work], after: Mark) -> list[Mark]:
        after.wait()
        marks: list[Mark] = []
        end: Mark = NOW
        for step in steps:
            try:
                if end is NOW:
                    step()
            except Exception as error:
                end = Failed(error)
            marks.append(end)
        return marks

    def close(self) -> None:
        pass


class _Step:
    """A step in a thread's queue, and its mark."""

    def __init__(self, work: Work, after: Mark, before: _Step | None) -> None:
        self.work = work
        self.after = after
        self.before = before
        self.error: BaseException | None = None
        self._ended = threading.Event()

    def run(self) -> None:
        """In the worker thread; a step behind a failed one of the same call does not run."""
        try:
            self.error = self.before.error if self.before else None
            if self.error is None:
                self.after.wait()
                self.work()
        except BaseException as error:
            self.error = error
        finally:
            self.before = None
            self._ended.set()

    def reached(self) -> bool:
        if not self._ended.is_set():
            return False
        if self.error is not None:
            raise self.error
        return True

    def hold(self) -> None:
        self._ended.wait()

    def wait(self) -> None:
        self._ended.wait()


class ThreadLane:
    """A worker thread.  Copies of tensors release the interpreter's lock, so they do overlap."""

    def __init__(self, name: str) -> None:
        self._steps: deque[_Step] = deque()
        self._changed = threading.Condition()
        self._closed = False
        # A daemon: a server that is being killed does not wait for copies.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, steps: Sequence[Work], after: Mark) -> list[Mark]:
        if self._closed:
            raise RuntimeError("the lane is closed")
        queued: list[_Step] = []
        for work in steps:
            queued.append(_Step(work, after, queued[-1] if queued else None))
        with self._changed:
            self._steps.extend(queued)
            self._changed.notify()
        return list(queued)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._steps and not self._closed:
                    self._changed.wait()
                if not self._steps:
                    return
                step = self._steps.popleft()
            step.run()
