"""What `make` hands on to the commands that it runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_bytecode_is_kept_whatever_the_environment_says() -> None:
    """Set-up compiles nothing, so without it every process would compile SGLang for itself."""
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "SEEN": "yes"}
    call = ["make", "--silent", "--eval", "show: ; @env", "show"]
    done = subprocess.run(
        call, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    names = {line.split("=")[0] for line in done.stdout.splitlines()}
    assert "SEEN" in names
    assert "PYTHONDONTWRITEBYTECODE" not in names
