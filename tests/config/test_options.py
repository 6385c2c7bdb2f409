"""Options: what is wrong is named with its value; they survive the way to a child process."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachepawl.cli.replay import command as replay
from cachepawl.config import (
    ENVIRONMENT,
    MOST_INTERVAL,
    Options,
    make_options,
    options_from_environment,
    parse_options,
)
from cachepawl.errors import CachepawlError, ConfigError
from cachepawl.offline.replay.scenario import Scenario
from cachepawl.policy import DEFAULT, POLICIES

FLAGS = [name for name, field in Options.model_fields.items() if field.annotation is bool]
OPTIONS = st.builds(
    Options,
    device_gb=st.none() | st.floats(1e-6, 1e4),
    host_gb=st.none() | st.sampled_from(["1", "0.25", "4x"]),
    write_policy=st.sampled_from(["write_through", "write_through_selective", "write_back"]),
    check_level=st.sampled_from([0, 1, 2]),
    checkpoint_dtype=st.sampled_from(["auto", "int8", "fp8"]),
    decision_log=st.none() | st.text(min_size=1),
    trace=st.none() | st.text(min_size=1),
    trace_mb=st.floats(1e-6, 1e9),
    trace_salt=st.none() | st.text(),
    **{name: st.booleans() for name in FLAGS},
)


@settings(derandomize=True, deadline=None, max_examples=100, database=None)
@given(OPTIONS)
def test_round_trip_through_the_environment(options: Options) -> None:
    environ = {ENVIRONMENT: options.model_dump_json()}
    assert options_from_environment(environ) == options


def test_a_child_process_sees_them() -> None:
    options = Options(device_gb=1.5, check_level=2)
    code = "from cachepawl.config import *; print(options_from_environment().model_dump_json())"
    child = subprocess.run(
        [sys.executable, "-c", code],
        env={ENVIRONMENT: options.model_dump_json()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert parse_options(child.stdout) == options


@pytest.mark.parametrize("environ", [{}, {ENVIRONMENT: ""}])
def test_absence_means_not_wanted(environ: dict[str, str]) -> None:
    assert options_from_environment(environ) is None


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ('{"device_gb": -1}', "--cachepawl-device-gb -1: "),
        ('{"device_gb": 0}', "--cachepawl-device-gb 0: "),
        ('{"device_gb": "much"}', "--cachepawl-device-gb 'much': "),
        ('{"device_gb": Infinity}', "--cachepawl-device-gb inf: "),
        ('{"device_gb": NaN}', "--cachepawl-device-gb nan: "),
        ('{"check_level": 3}', "--cachepawl-check-level 3: "),
        ('{"checkpoint_dtype": "fp4"}', "--cachepawl-checkpoint-dtype 'fp4': "),
        ('{"policy": "fifo"}', "--cachepawl-policy 'fifo': "),
        ('{"split_prefill": "perhaps"}', "--cachepawl-split-prefill 'perhaps': "),
        ('{"decision_log": 7}', "--cachepawl-decision-log 7: "),
        ('{"trace_mb": 0}', "--cachepawl-trace-mb 0: "),
        ('{"devise_gb": 8}', "--cachepawl-devise-gb 8: "),
        ('{"answer_interval": 0}', "--cachepawl-answer-interval 0: give 1 to 1048576 tokens, or "),
        (
            '{"answer_interval": 1000000000}',
            "--cachepawl-answer-interval 1000000000: give 1 to 1048576 tokens, or `sglang` for ",
        ),
        ('{"answer_interval": "x"}', "--cachepawl-answer-interval 'x': "),
        ('{"policy_history": ""}', "--cachepawl-policy-history '': an empty path names no file"),
        ('{"trace": ""}', "--cachepawl-trace '': an empty path names no file; give one, or drop"),
        ('{"decision_log": ""}', "--cachepawl-decision-log '': an empty path names no file"),
        ("[1, 2]", "CACHEPAWL_CONFIG [1, 2]: "),
        ('{"device_gb": ', "CACHEPAWL_CONFIG '{\"device_gb\": ': "),
    ],
)
def test_errors_name_the_flag_and_the_value(text: str, start: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_options(text)
    assert str(error.value).startswith(start)
    assert len(str(error.value)) > len(start)
    assert isinstance(error.value, CachepawlError)
    assert error.value.__cause__ is None


def test_flags_are_checked_alike() -> None:
    assert make_options(device_gb=8, check_level=1) == parse_options(
        '{"device_gb": 8, "check_level": 1}'
    )
    with pytest.raises(ConfigError, match="--cachepawl-check-level 3: "):
        make_options(check_level=3)
    with pytest.raises(ConfigError, match="--cachepawl-device-gb inf: "):
        make_options(device_gb=float("inf"))


def test_what_is_allowed_is_said() -> None:
    with pytest.raises(ConfigError, match="0, 1 or 2"):
        parse_options('{"check_level": 9}')
    with pytest.raises(ConfigError, match="greater than 0"):
        parse_options('{"device_gb": -3}')


def test_defaults_change_nothing() -> None:
    options = parse_options("{}")
    assert options == Options()
    assert options.device_bytes is None
    assert json.loads(options.model_dump_json())["device_gb"] is None


def test_bytes_are_those_of_the_gib() -> None:
    assert Options(device_gb=0.5).device_bytes == 1 << 29
    assert Options(device_gb=80).device_bytes == 80 << 30


def test_options_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Options().check_level = 2


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            {"policy": "mru"},
            "--cachepawl-policy 'mru': no such policy; give one of lru, joint$",
        ),
        (
            {"policy": "lru", "policy_history": "h"},
            "--cachepawl-policy-history h: policy lru learns nothing",
        ),
        (
            {"policy": "joint", "policy_history": "h", "trace": "t"},
            "--cachepawl-policy-history h: a recording has to begin",
        ),
    ],
)
def test_policies_and_histories_that_do_not_fit(values: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=f"^{says}"):
        make_options(**values)


def test_every_policy_can_be_chosen() -> None:
    for name, make in POLICIES.items():
        options = make_options(policy=name)
        assert options.policy == name
        assert options.learns == make().learns


def test_one_default_policy_for_servers_and_replays() -> None:
    options = {option.name: option.default for option in replay.params}
    fields = {field.name: field.default for field in dataclasses.fields(Scenario)}
    assert Options().policy == options["policy"] == fields["policy"] == DEFAULT
    assert DEFAULT in POLICIES


def test_the_longest_interval_is_allowed() -> None:
    assert make_options(answer_interval=MOST_INTERVAL).answer_interval == MOST_INTERVAL
    assert make_options(answer_interval=None).answer_interval is None
