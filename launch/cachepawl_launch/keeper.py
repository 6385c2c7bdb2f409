"""Keeps what a policy learned in its file, beside a scheduler that goes on."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from pathlib import Path

from cachepawl.errors import ConfigError, UnsettledError
from cachepawl.policy.joint import Joint, history

logger = logging.getLogger(__name__)
LOOK = 2.0
"""Seconds between two looks whether there is something to write."""
EVERY = 60.0
"""Seconds between two writings while requests come: a scheduler is killed without a warning."""
BREATH = 0.002
"""Seconds that the writer sleeps between pieces, for the scheduler's sake."""


class Keeper:
    """Writes what a policy learned: every minute, when requests cease, and at a regular end."""

    def __init__(self, policy: Joint, path: Path) -> None:
        self._policy = policy
        self._path = path
        self._writing = threading.Lock()
        self._failed = False

    def start(self) -> None:
        """ConfigError when the file cannot be written."""
        history.save(self._path, self._policy.learned())
        atexit.register(self.write)
        threading.Thread(target=self._keep, name="cachepawl-history", daemon=True).start()

    def _keep(self) -> None:
        written = seen = 0
        since = 0.0
        while not self._failed:
            time.sleep(LOOK)
            since += LOOK
            heard = self._policy.requests.heard
            if heard != written and (heard == seen or since >= EVERY):
                if self.write(BREATH):
                    written = heard
                since = 0.0
            seen = heard

    def write(self, breath: float = 0.0) -> bool:
        """Write now; returns whether it was.  The old file stays where what is known changes
        too fast to be read; any other failure is said once and ends the keeping, not the server.
        """
        with self._writing:
            try:
                history.save(self._path, self._policy.learned(), lambda: time.sleep(breath))
                return True
            except UnsettledError as error:
                logger.warning("cachepawl: %s; %s stays as it is for now", error, self._path)
            except ConfigError as error:
                if not self._failed:
                    logger.warning("cachepawl: %s; the policy goes on without", error)
                self._failed = True
            return False
