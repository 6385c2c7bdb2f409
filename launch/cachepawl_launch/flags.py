"""The launcher's own flags; all others are SGLang's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from cachepawl.config import Options, make_options
from cachepawl.errors import ConfigError
from cachepawl.offload.faults import parse_script
from cachepawl.offload.layers import GROUP_BYTES
from cachepawl.snapshots import ANSWER_INTERVAL


def parser() -> argparse.ArgumentParser:
    """Our flags; everything else is SGLang's."""
    p = argparse.ArgumentParser(
        prog="python -m cachepawl.launch_server",
        description="SGLang's server with cachepawl's tree and arena. Takes every flag of "
        "`python -m sglang.launch_server`, and:",
        add_help=False,
        allow_abbrev=False,
        exit_on_error=False,
    )
    p.add_argument("-h", "--help", action="store_true", help="this, then SGLang's flags")
    p.add_argument(
        "--cachepawl-device-gb",
        type=float,
        metavar="GB",
        help="bytes of the arena, in GiB, exactly (default: what --mem-fraction-static leaves)",
    )
    p.add_argument(
        "--cachepawl-host-gb",
        metavar="GB",
        help="a second tier of the cache in host memory, page-locked, GiB on each rank; 2x: "
        "twice the arena (default: none)",
    )
    p.add_argument(
        "--cachepawl-host-remote",
        action="store_true",
        help="take memory of another NUMA node than the GPU's for the host tier: it is slower",
    )
    p.add_argument(
        "--cachepawl-write-policy",
        metavar="WHEN",
        help="when the host tier gets a copy: write_through (at once), write_through_selective "
        "(what was used again), write_back (before it is evicted) (default: write_through)",
    )
    p.add_argument(
        "--cachepawl-host-layerwise",
        action="store_true",
        help="begin a request while its prefix is loaded; each layer waits for its own bytes",
    )
    p.add_argument(
        "--cachepawl-policy",
        default=Options().policy,
        metavar="NAME",
        help="eviction policy: lru, or joint, which learns reuse times and weighs bytes",
    )
    p.add_argument(
        "--cachepawl-policy-history",
        metavar="FILE",
        help="with joint: keep what was learned in FILE, and begin with what is there",
    )
    p.add_argument(
        "--cachepawl-checkpoint-dtype",
        default="auto",
        metavar="TYPE",
        help="how states kept for reuse are stored: auto (exactly as they are), int8 or fp8",
    )
    p.add_argument(
        "--cachepawl-check-level",
        type=int,
        default=0,
        metavar="N",
        help="0 no checks, 1 counters every step, 2 everything every step (slow)",
    )
    p.add_argument(
        "--cachepawl-no-split-prefill",
        action="store_true",
        help="never end a prefill chunk early to take one more snapshot",
    )
    p.add_argument(
        "--cachepawl-answer-interval",
        default=str(ANSWER_INTERVAL),
        metavar="N",
        help="tokens between snapshots of an answer, so that the next turn reuses all but its "
        "last N; rounded up to whole pages; `sglang` for its --mamba-track-interval "
        "(default: %(default)s)",
    )
    p.add_argument(
        "--cachepawl-no-message-marks",
        action="store_true",
        help="never end a prefill chunk early where the first user of a chat speaks",
    )
    p.add_argument(
        "--cachepawl-map",
        action="store_true",
        help="serve pictures of the cache at /cachepawl/map, for `cachepawl map --url`",
    )
    p.add_argument(
        "--cachepawl-trace",
        metavar="FILE",
        help="record every call that changes the cache; a name in .gz or .zst is compressed",
    )
    p.add_argument(
        "--cachepawl-trace-mb",
        type=float,
        default=1024.0,
        metavar="MB",
        help="size of FILE after which FILE.1 is begun, and so on, in MiB",
    )
    p.add_argument(
        "--cachepawl-trace-salt",
        metavar="TEXT",
        help="salt of the recording's hashes, for logs to be compared (default: random)",
    )
    p.add_argument(
        "--cachepawl-movement",
        default="auto",
        metavar="HOW",
        help="who copies and clears the arena's bytes: torch, triton, or auto: Triton kernels "
        "on a GPU, torch where they cannot run",
    )
    p.add_argument(
        "--cachepawl-dry-run", action="store_true", help="print what the budget holds, and stop"
    )
    p.add_argument(
        "--cachepawl-cpu",
        action="store_true",
        help="serve without a GPU, with slow reference kernels: tests, demos, laptops",
    )
    p.add_argument(
        "--cachepawl-allow-other-sglang",
        action="store_true",
        help="run although SGLang's version or a patched source is not the known one",
    )
    tests = p.add_argument_group("for tests")
    tests.add_argument(
        "--cachepawl-poison-freed",
        action="store_true",
        help="fill freed frames with NaN (CPU only)",
    )
    tests.add_argument(
        "--cachepawl-corrupt-restored-state",
        action="store_true",
        help="negative control: a hit restores a wrong state",
    )
    tests.add_argument(
        "--cachepawl-host-faults", metavar="SCRIPT", help="transfers fail: load:0:fail, ..."
    )
    tests.add_argument(
        "--cachepawl-host-corrupt",
        metavar="WHAT",
        help="negative control: loaded pages or states arrive as zeros",
    )
    tests.add_argument(
        "--cachepawl-host-blind",
        action="store_true",
        help="negative control: no layer waits for its bytes",
    )
    tests.add_argument(
        "--cachepawl-host-group-bytes",
        type=int,
        default=GROUP_BYTES,
        metavar="BYTES",
        help="least bytes of the groups of layers that a load is cut into",
    )
    tests.add_argument(
        "--cachepawl-host-slow",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="every copy of a transfer takes longer",
    )
    tests.add_argument(
        "--cachepawl-decision-log", metavar="FILE", help="append every decision to FILE.RANK"
    )
    return p


def split_flags(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our flags, and the rest for SGLang; ConfigError for a misspelt flag of ours."""
    try:
        ours, theirs = parser().parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error}; see --help") from None
    for word in theirs:
        if word.startswith("--cachepawl"):
            known = sorted(
                f for f in parser()._option_string_actions if f.startswith("--cachepawl")
            )
            raise ConfigError(f"unknown flag {word.split('=')[0]}; known: {', '.join(known)}")
    return ours, theirs


def flag_names(words: Sequence[str]) -> set[str]:
    """The flags among command-line words, without their values."""
    return {word.split("=")[0] for word in words if word.startswith("--")}


def options_of(ours: argparse.Namespace) -> Options:
    """The validated options; ConfigError names the flag and the value."""
    return make_options(
        device_gb=ours.cachepawl_device_gb,
        host_gb=ours.cachepawl_host_gb,
        host_remote=ours.cachepawl_host_remote,
        host_layerwise=ours.cachepawl_host_layerwise,
        host_blind=ours.cachepawl_host_blind,
        host_group_bytes=ours.cachepawl_host_group_bytes,
        write_policy=ours.cachepawl_write_policy or "write_through",
        host_faults=ours.cachepawl_host_faults,
        host_corrupt=ours.cachepawl_host_corrupt,
        host_slow=ours.cachepawl_host_slow,
        policy=ours.cachepawl_policy,
        policy_history=_absolute(ours.cachepawl_policy_history),
        checkpoint_dtype=ours.cachepawl_checkpoint_dtype,
        check_level=ours.cachepawl_check_level,
        split_prefill=not ours.cachepawl_no_split_prefill,
        answer_interval=_interval(ours.cachepawl_answer_interval),
        message_marks=not ours.cachepawl_no_message_marks,
        map=ours.cachepawl_map,
        movement=ours.cachepawl_movement,
        poison_freed=ours.cachepawl_poison_freed,
        corrupt_restored_state=ours.cachepawl_corrupt_restored_state,
        decision_log=ours.cachepawl_decision_log,
        trace=_absolute(ours.cachepawl_trace),
        trace_mb=ours.cachepawl_trace_mb,
        trace_salt=ours.cachepawl_trace_salt,
        allow_other_sglang=ours.cachepawl_allow_other_sglang,
    )


def check_host_flags(ours: argparse.Namespace) -> None:
    """ConfigError for flags of a host tier that is not asked for, or of two that do not agree."""
    if ours.cachepawl_host_gb is None:
        for name in (
            "write_policy",
            "host_remote",
            "host_layerwise",
            "host_faults",
            "host_corrupt",
            "host_slow",
            "host_blind",
        ):
            if getattr(ours, f"cachepawl_{name}"):
                flag = f"--cachepawl-{name.replace('_', '-')}"
                raise ConfigError(f"{flag}: there is no host tier; give --cachepawl-host-gb too")
    elif ours.cachepawl_checkpoint_dtype != "auto":
        raise ConfigError(
            f"--cachepawl-checkpoint-dtype {ours.cachepawl_checkpoint_dtype} beside "
            f"--cachepawl-host-gb is not supported: the host tier copies whole states; drop either"
        )
    if ours.cachepawl_host_layerwise and ours.cachepawl_trace is not None:
        raise ConfigError(
            "--cachepawl-trace beside --cachepawl-host-layerwise is not supported: a request that "
            "runs on its load is not recorded yet; drop either"
        )
    if ours.cachepawl_host_faults is not None:
        parse_script(ours.cachepawl_host_faults)


def _interval(word: str) -> int | str | None:
    """A number if it is one; what is not is refused with the other options."""
    if word == "sglang":
        return None
    return int(word) if word.isdecimal() else word


def _absolute(path: str | None) -> str | None:
    """An empty path stays one, to be refused with the other options: it is not this folder."""
    return str(Path(path).absolute()) if path else path
