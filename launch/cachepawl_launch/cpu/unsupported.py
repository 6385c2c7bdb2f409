"""Say no, by name, to an argument a reference kernel does not implement."""

from collections.abc import Mapping


def reject(kernel: str, given: Mapping[str, object]) -> None:
    """Raise NotImplementedError if any value of `given` is not None.

    Args:
        kernel: Name for the message.
        given: Argument name to the value the caller passed; None means "not used".
    """
    used = sorted(name for name, value in given.items() if value is not None)
    if used:
        raise NotImplementedError(
            f"{kernel} on the cachepawl_cpu platform does not support: {', '.join(used)}"
        )
