"""The flags and environment with which stock SGLang serves a tiny model on this platform."""

from dataclasses import dataclass

from cachepawl.errors import ConfigError
from cachepawl_launch.cpu.platform_name import PLATFORM_NAME
from cachepawl_launch.cpu.tiny_config import FAMILIES, WITHOUT_EXTRA_BUFFER, WITHOUT_STATES


@dataclass(frozen=True)
class Limits:
    """What the server may hold; None leaves the flag out.

    Attributes:
        total_tokens: KV tokens in the device pool.
        states: Mamba state slots in the device pool; ignored for a family without states.
        requests: Requests running at once.
        context: Longest request, in tokens.
        chunked_prefill: Tokens of one prefill forward.
    """

    total_tokens: int | None = 8192
    states: int | None = 64
    requests: int | None = 8
    context: int | None = 4096
    chunked_prefill: int | None = 512


def serve_args(
    family: str, page_size: int = 1, *, overlap: bool = True, limits: Limits | None = None
) -> list[str]:
    """Arguments for ``python -m sglang.launch_server``; the caller adds model path and port.

    Args:
        family: One of `tiny_config.FAMILIES`.
        page_size: KV tokens a page.
        overlap: Overlap scheduling; off for a family SGLang cannot overlap.
        limits: None for the defaults.

    Raises:
        ValueError: unknown family, or a page size SGLang does not allow the family.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}; one of: {', '.join(FAMILIES)}")
    extra_buffer = family not in WITHOUT_EXTRA_BUFFER
    if page_size != 1 and not extra_buffer:
        raise ValueError(f"{family} serves only page size 1 in SGLang, not {page_size}")
    args = [
        *platform_args(set()),
        *("--random-seed", "1234"),
        *("--page-size", str(page_size)),
    ]
    if family not in WITHOUT_STATES:
        strategy = "extra_buffer" if extra_buffer else "no_buffer"
        args += ["--mamba-radix-cache-strategy", strategy]
    if not (overlap and extra_buffer):
        args.append("--disable-overlap-schedule")
    return args + _limit_args(limits or Limits(), states=family not in WITHOUT_STATES)


def _limit_args(limits: Limits, *, states: bool) -> list[str]:
    values = {
        "--max-total-tokens": limits.total_tokens,
        "--max-mamba-cache-size": limits.states if states else None,
        "--max-running-requests": limits.requests,
        "--context-length": limits.context,
        "--chunked-prefill-size": limits.chunked_prefill,
    }
    return [word for flag, v in values.items() if v is not None for word in (flag, str(v))]


PLATFORM_FLAGS = {
    "--device": "cpu",
    "--dtype": "float32",
    "--attention-backend": "torch_native",
    "--sampling-backend": "pytorch",
    "--mem-fraction-static": "0.2",
    "--disable-cuda-graph": None,
    "--skip-server-warmup": None,
    "--sleep-on-idle": None,
}
"""What any model needs here; a flag without a value is a switch."""


def platform_args(given: set[str]) -> list[str]:
    """`PLATFORM_FLAGS` as arguments, but for those in `given`."""
    missing = {flag: value for flag, value in PLATFORM_FLAGS.items() if flag not in given}
    return [word for pair in missing.items() for word in pair if word is not None]


def serve_env() -> dict[str, str]:
    """Variables to add to the server's environment; children inherit them."""
    return {
        "SGLANG_PLATFORM": PLATFORM_NAME,
        "SGLANG_EXTERNAL_MODEL_PACKAGE": "cachepawl_launch.cpu.models",
        "SGLANG_MAMBA_CONV_DTYPE": "float32",
        "SGLANG_MAMBA_SSM_DTYPE": "float32",
        # SGLang's own CPU engine would take over its kernel dispatch.
        "SGLANG_USE_CPU_ENGINE": "0",
        # A visible GPU would make SGLang bind compiled kernels at import.
        "CUDA_VISIBLE_DEVICES": "",
        # These tensors are far too small to share between threads.
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }


def check_movement(movement: str, interpret: str) -> None:
    """ConfigError for kernels that nothing on this platform could run.

    Args:
        movement: The option `--cachepawl-movement`.
        interpret: The value of ``TRITON_INTERPRET``, empty where it is not set.
    """
    if movement == "triton" and interpret != "1":
        raise ConfigError(
            "--cachepawl-movement triton: without a GPU Triton's kernels can only be interpreted, "
            "very slowly; set TRITON_INTERPRET=1 for that, or use auto"
        )
