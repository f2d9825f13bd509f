"""The failures of djangofleet-balancer: message, hint and exit code."""

from __future__ import annotations

import errno
from typing import Any


class BalancerError(Exception):
    """A failure that an operator can act on.

    :param message: what was found.
    :param hint: what to do next.
    :param facts: what else a program may want to know, as JSON.
    """

    code = 1

    def __init__(self, message: str, hint: str = "", facts: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message, self.hint, self.facts = message, hint, facts or {}

    def as_dict(self) -> dict[str, Any]:
        return {"failed": True, "code": self.code, "message": self.message, "hint": self.hint, **self.facts}

    def __str__(self) -> str:
        return "\n".join(part for part in (self.message, self.hint) if part)


class Refused(BalancerError):
    """What was asked for cannot or must not be done. Nothing has changed."""

    code = 2


class LockedError(BalancerError):
    """Somebody else holds the lock."""

    code = 3


HINTS = {
    errno.ENOSPC: "make room on the file system that {path} is on, then try again",
    errno.EDQUOT: "make room on the file system that {path} is on, then try again",
    errno.EROFS: "the file system that {path} is on is read-only: look at `dmesg`, mount it writable, then try again",
    errno.EIO: "the disk fails: look at `dmesg`",
}


def refused(error: OSError) -> BalancerError:
    """What an operator is told about a call that the system refused, such as a write to a full disk."""
    if isinstance(error, PermissionError):
        return Refused(f"{error.filename}: permission denied", "run djangofleet-balancer as root")
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return BalancerError(what, HINTS.get(error.errno or 0, "").format(path=error.filename or "this host"))
