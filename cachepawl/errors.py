"""The error tree: what callers may catch.  An `assert` elsewhere means a bug of ours."""

from __future__ import annotations


class CachepawlError(Exception):
    """Base of all errors meant for callers.  The text gives value, limit and remedy."""


class ConfigError(CachepawlError, ValueError):
    """An option, a flag or a model that cachepawl cannot serve."""


class OutOfPages(CachepawlError):  # noqa: N818 - named after the shortage
    """The arena cannot hold what was asked, after evicting all it may evict."""


class InvariantError(CachepawlError, AssertionError):
    """A checked invariant does not hold.  The text names it and dumps the structure."""


class LockError(CachepawlError, RuntimeError):
    """A lock receipt was used twice, is forged or is from another tree; or a node has left."""


class ArgumentError(CachepawlError, ValueError):
    """Arguments that do not fit together or are out of range.  Nothing was changed."""


class OwnershipError(ArgumentError):
    """A page or a state slot is given to the tree that the tree owns already."""


class UnknownNode(ArgumentError):  # noqa: N818 - named after what it is about
    """A node that is not in this tree (any more)."""


class DoubleFree(CachepawlError, RuntimeError):  # noqa: N818
    """A page or a slot was given back that its owner did not hold."""


class UnsettledError(CachepawlError, RuntimeError):
    """Something changed whenever it was looked at.  A later look may do."""


class TransferError(CachepawlError, RuntimeError):
    """A transfer between the tiers could not be submitted.  Nothing was copied."""


class InputError(CachepawlError, ValueError):
    """A file, a field of it or an option of an offline command that cannot be used.

    One line: file and line or field, what was found, what is allowed, the remedy.
    """


class TruncatedInput(InputError):  # noqa: N818 - named after what happened
    """A compressed file that ends before its end; what came before it was good."""


class OutputError(CachepawlError, OSError):
    """A result could not be written.  Nothing half-written is left behind."""


class GateFailed(CachepawlError):  # noqa: N818 - a verdict, not a failure of ours
    """A figure is beyond the threshold that the caller set."""
