"""What djangoctl says when it cannot go on, and the exit code that goes with it."""

from __future__ import annotations


class CtlError(Exception):
    """A failure that an operator can act on.

    :param message: what was found, beginning with the variable's path where an input is at fault.
    :param state: what serves now, after the failure.
    :param hint: what to do next.
    :param log: the last lines that explain it.
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
    """The app, a release or an option is not there or makes no sense."""

    code = 2


class LockedError(CtlError):
    """Somebody else is at work on this app."""

    code = 3


class BuildError(CtlError):
    """A release could not be built. Nothing live was touched."""

    code = 4


class MigrationError(CtlError):
    """The database could not be brought to the release. The old release serves on."""

    code = 5


class GateError(CtlError):
    """The release did not pass its health check. No user has seen it."""

    code = 6


class ActivationError(CtlError):
    """The release passed its gate and yet could not be put live; what served before was put back."""

    code = 7


class HookError(CtlError):
    """A command of the app at a point of the deploy failed. The state says what is live."""

    code = 8


class UnhealthyError(CtlError):
    """A health check that was asked for found something wrong."""

    code = 6
