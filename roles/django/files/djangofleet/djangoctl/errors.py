"""The failures of djangoctl: message, state, hint and exit code."""

from __future__ import annotations


class CtlError(Exception):
    """A failure that an operator can act on.

    :param message: what was found. It begins with the variable's path where the inventory is wrong.
    :param state: which release is live after the failure.
    :param hint: what to do next.
    :param log: the last log lines that explain the failure.
    """

    code = 1

    def __init__(self, message: str, *, state: str = "", hint: str = "", log: str = "") -> None:
        super().__init__(message)
        self.message, self.state, self.hint, self.log = message, state, hint, log

    def as_dict(self) -> dict:
        return {
            "failed": True,
            "code": self.code,
            "message": self.message,
            "state": self.state,
            "hint": self.hint,
            "log": self.log,
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
