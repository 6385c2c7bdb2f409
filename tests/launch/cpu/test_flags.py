"""The flags a tiny model is served with."""

import pytest

from cachepawl_launch.cpu.flags import Limits, serve_args, serve_env


def test_limits_left_out_leave_the_flag_out() -> None:
    sparse = Limits(total_tokens=None, states=3, requests=None, context=None, chunked_prefill=None)
    args = serve_args("falcon_h1", limits=sparse)
    assert args[args.index("--max-mamba-cache-size") + 1] == "3"
    assert "--max-total-tokens" not in args
    assert "--context-length" not in args


def test_attention_only_has_no_state_flags() -> None:
    assert not [word for word in serve_args("qwen3", 16) if "mamba" in word]


def test_overlap_can_be_switched_off() -> None:
    assert "--disable-overlap-schedule" not in serve_args("qwen3_5", 16)
    assert "--disable-overlap-schedule" in serve_args("qwen3_5", 16, overlap=False)


def test_what_sglang_does_not_allow_is_an_error() -> None:
    with pytest.raises(ValueError, match="gpt2"):
        serve_args("gpt2")
    with pytest.raises(ValueError, match="page size 1"):
        serve_args("lfm2", 16)


def test_the_environment_is_plain_text() -> None:
    env = serve_env()
    assert env["SGLANG_PLATFORM"] == "cachepawl_cpu"
    assert all(isinstance(value, str) for value in env.values())
