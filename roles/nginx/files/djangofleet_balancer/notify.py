"""Tells systemd how the service is: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """The socket on which systemd listens, if it started this process."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._path = environment.get("NOTIFY_SOCKET", "")
        self._has_watchdog = bool(environment.get("WATCHDOG_USEC"))
        self._status = ""

    def ready(self) -> None:
        """Say that the service has started."""
        self._send("READY=1")

    def alive(self) -> None:
        """Say that the service is not stuck, if somebody asks."""
        if self._has_watchdog:
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the service ends."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Say what `systemctl status` shows, if it is new."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def _send(self, text: str) -> None:
        if not self._path:
            return
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        # systemd that is being restarted hears nothing; that must not end the service.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as stream:
            stream.sendto(text.encode(), address)
