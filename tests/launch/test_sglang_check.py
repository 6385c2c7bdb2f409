"""Another SGLang than the known one is noticed before anything is patched."""

from __future__ import annotations

import pytest
import sglang

from cachepawl.errors import ConfigError
from cachepawl_launch.install import check_sglang
from cachepawl_patches import fingerprint


def test_the_installed_one_is_known() -> None:
    assert check_sglang(allow_other=False) == []


def test_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sglang, "__version__", "0.5.24")
    with pytest.raises(ConfigError, match=r"SGLang is 0.5.24, cachepawl knows 0.5.23"):
        check_sglang(allow_other=False)
    assert check_sglang(allow_other=True) == ["SGLang is 0.5.24, cachepawl knows 0.5.23"]


def test_a_changed_source(monkeypatch: pytest.MonkeyPatch) -> None:
    target = "sglang.srt.mem_cache.allocation.alloc_for_extend"
    monkeypatch.setitem(fingerprint.KNOWN, target, "0" * 16)
    with pytest.raises(ConfigError, match="alloc_for_extend"):
        check_sglang(allow_other=False)


def test_a_missing_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fingerprint.KNOWN, "sglang.srt.mem_cache.gone.nothing", "0" * 16)
    assert any("gone" in line for line in fingerprint.differences())
