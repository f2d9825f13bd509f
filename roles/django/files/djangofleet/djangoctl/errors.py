"""The failures of djangoctl: message, state, hint and exit code."""

from __future__ import annotations

import errno
import re

CREDENTIALS = re.compile(r"://[^/\s]*@")  # of an address: a name and a password, or a token


def masked(text: str) -> str:
    """A text without the credentials of its addresses: what git, uv or a project print is shown, recorded and kept."""
    return CREDENTIALS.sub("://***@", text)


class CtlError(Exception):
    """A failure that an operator can act on.

    :param message: what was found. It begins with the variable's path where the inventory is wrong.
    :param state: which release is live after the failure.
    :param hint: what to do next.
    :param log: the last log lines that explain the failure.
    :param facts: what else a program may want to know, as JSON.
    """

    code = 1

    def __init__(
        self, message: str, *, state: str = "", hint: str = "", log: str = "", facts: dict | None = None
    ) -> None:
        super().__init__(masked(message))
        self.message, self.state, self.hint = masked(message), state, hint
        self.log, self.facts = masked(log), facts or {}

    def as_dict(self) -> dict:
        return {
            "failed": True,
            "code": self.code,
            "message": self.message,
            "state": self.state,
            "hint": self.hint,
            "log": self.log,
            **self.facts,
        }

    def __str__(self) -> str:
        parts = (self.message, self.log and f"\n{self.log}\n", self.state, self.hint)
        return "\n".join(part for part in parts if part)


class ConfigError(CtlError):
    """The app, the release or an option does not exist or is not valid."""

    code = 2


class LockedError(CtlError):
    """Somebody else holds the lock of this app."""

    code = 3


class BuildError(CtlError):
    """A release could not be built. Nothing live was touched."""

    code = 4


class MigrationError(CtlError):
    """A migration failed or was refused. The old release is still live."""

    code = 5


class GateError(CtlError):
    """The release did not pass its health check. No visitor has seen it."""

    code = 6


class ActivationError(CtlError):
    """The service did not start on a release that had passed its gate. The state says what is live."""

    code = 7


class HookError(CtlError):
    """A hook of the app failed. The state says what is live."""

    code = 8


class UnhealthyError(CtlError):
    """`djangoctl check` found the app unhealthy."""

    code = 6


class MoveError(CtlError):
    """The database could not be moved. The app is live on the one that it had."""

    code = 10


class Interrupted(BaseException):
    """A signal came while an action ran that may end at any moment. Not an Exception: nobody handles it by accident."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


HINTS = {
    errno.ENOSPC: "make room on the file system that {path} is on, then try again",
    errno.EDQUOT: "make room on the file system that {path} is on, then try again",
    errno.EROFS: "the file system that {path} is on is read-only: look at `dmesg`, mount it writable, then try again",
    errno.EIO: "the disk fails: look at `dmesg`",
}


def refused(error: OSError, *, state: str = "") -> CtlError:
    """What an operator is told about a call that the system refused, such as a write to a full disk."""
    path = error.filename or "this host"
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    if isinstance(error, PermissionError):
        return ConfigError(f"{error.filename}: permission denied", state=state, hint="run djangoctl as root")
    hint = HINTS.get(error.errno, "the journal has the details: journalctl -t djangoctl").format(path=path)
    return CtlError(what, state=state, hint=hint)
