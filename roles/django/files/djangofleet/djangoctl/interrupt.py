"""What a signal does to djangoctl: an action that may stop half way ends, another one is finished first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import Interrupted

# Ctrl-C, `kill` and systemd, and the end of a connection by ssh.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted where a signal finds the block, so that it cleans up behind itself."""

    def interrupt(number: int, _frame: object) -> None:
        raise Interrupted(number)

    with _handled_by(interrupt):
        yield


@contextmanager
def finished_first() -> Iterator[list[int]]:
    """Put signals off until the block has ended. Yields the numbers of those that came."""
    came: list[int] = []
    with _handled_by(lambda number, _frame: came.append(number)):
        yield came


@contextmanager
def _handled_by(handler: signal.Handlers) -> Iterator[None]:
    """Handle the signals by a function, but for those that the caller ignores, as nohup does."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number, current in before.items():
            if current is not signal.SIG_IGN:
                signal.signal(number, handler)
        yield
    finally:
        for number, current in before.items():
            signal.signal(number, current)
