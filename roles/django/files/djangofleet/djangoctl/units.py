"""Installs an app's units, and opens a new address before the old one is left.

The role writes unit files beside the app's configuration, where they are pinned with it. An activation that has passed
its gate copies them to where systemd reads them. The files are plain copies: `systemctl enable` would resolve links.

A running socket unit cannot move to another address. A new address is a socket unit of its own, and the service listens
on both until the next activation. By then the web server has moved over.
"""

from __future__ import annotations

import errno
import grp
import hashlib
import os
import re
import shutil
import socket
from pathlib import Path

from .app import App
from .atomic import write
from .errors import ActivationError, ConfigError
from .release import live_id, read_json, still_live
from .systemd import Systemd

DIRECTORY = Path(os.environ.get("DJANGOFLEET_UNITS", "/etc/systemd/system"))
WEB_SERVER = Path("/etc/nginx")
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1"}  # noqa: S104  (nothing is bound here)


def service(app: App) -> str:
    return f"{app.unit}.service"


def stand_in(app: App) -> str:
    return f"{app.unit}-next.service"


def plain_socket(app: App) -> str:
    """The socket unit's name in the role's files, and on the host until its address changes."""
    return f"{app.unit}.socket"


def installed(app: App) -> dict[str, str]:
    """The app's unit files that systemd reads, by name."""
    found, mark = {}, f"X-Djangofleet-App={app.name}"
    unmarked = (plain_socket(app), service(app), stand_in(app))  # an older role did not mark these
    for path in sorted(DIRECTORY.glob(f"{app.unit}*")):
        if path.is_file() and not path.is_symlink():
            text = path.read_text(errors="replace")
            if path.name in unmarked or mark in text.splitlines():
                found[path.name] = text
    return found


def setting(text: str, key: str) -> str:
    """The value of a unit file's first setting of that name; empty if there is none."""
    found = re.search(rf"^{key}=(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def address(text: str) -> str:
    """Where a socket unit listens: an absolute path, or address:port."""
    return setting(text, "ListenStream")


def wanted_address(app: App) -> str:
    """Where the app is to listen, as the role last wrote it.

    :raises ConfigError: an older role has written the configuration, without units.
    """
    try:
        return address((app.config / "units" / plain_socket(app)).read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{error.filename} is missing", hint="run site.yml, which writes the app's units") from None


def serving(app: App) -> list[str]:
    """The socket units that the live service was started with, the wanted one first; empty if nothing is live."""
    if live_id(app) is None:
        return []
    recorded = read_json(app.root / "live.json").get("sockets")
    names, here = recorded if isinstance(recorded, list) else [plain_socket(app)], installed(app)
    return [name for name in names if name in here]


def socket_name(app: App) -> str:
    """The socket unit that requests come through."""
    return (serving(app) or [plain_socket(app)])[0]


def listening(app: App) -> str:
    """Where the live service listens; where the app is to listen if nothing is live."""
    return address(installed(app).get(socket_name(app), "")) or wanted_address(app)


def sockets(app: App) -> list[str]:
    """The socket units of the next activation: the wanted one, then those that somebody may still use.

    These are the one that was wanted before, and those that the web server of this host still names.
    """
    here = {name: address(text) for name, text in installed(app).items() if name.endswith(".socket")}
    wanted, before = _socket_for(app, wanted_address(app), here), serving(app)
    return list(dict.fromkeys([wanted, *before[:1], *(name for name in before if _is_named_by_web_server(here[name]))]))


def _socket_for(app: App, where: str, here: dict[str, str]) -> str:
    """The name of the socket unit for an address: that of an installed one if there is one.

    :param here: the addresses of the installed ones.
    """
    for name, known in here.items():
        if known == where:
            return name
    plain = plain_socket(app)
    return f"{app.unit}-{hashlib.sha256(where.encode()).hexdigest()[:8]}.socket" if plain in here else plain


def _is_named_by_web_server(where: str) -> bool:
    """Whether Nginx on this host is configured for an address. It moves over later in a run, and not in every run."""
    named = re.compile(re.escape(where) + r"(?![\w.:/-])")
    return any(named.search(path.read_text(errors="replace")) for path in WEB_SERVER.rglob("*.conf") if path.is_file())


def rendered(app: App, directory: Path, names: list[str]) -> dict[str, str]:
    """The unit files to install, by name.

    :param directory: the role's unit files.
    :param names: the socket units that the service listens on. The first takes the name that the files have for it.
    """
    plain, found = plain_socket(app), {}
    for path in sorted(directory.glob(f"{app.unit}*")):
        text = path.read_text()
        if path.name in (service(app), stand_in(app)):
            text = text.replace(plain, names[0]).replace(f"Sockets={names[0]}", f"Sockets={' '.join(names)}")
        found[names[0] if path.name == plain else path.name] = text
    return found


def is_open(app: App, name: str) -> bool:
    """Whether something listens where a socket unit says. systemd may call one active that has lost its socket."""
    if not (where := address(installed(app).get(name, ""))):
        return False
    with _stream(where) as trial:
        trial.settimeout(2)
        try:
            trial.connect(reachable(where))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # somebody listens, and is busy
    return True


def reachable(where: str) -> str | tuple[str, int]:
    """Where to connect to a ListenStream=: a path, or a host and a port."""
    target = _bound(where)
    return target if isinstance(target, str) else (WILDCARDS.get(target[0], target[0]), target[1])


def _bound(where: str) -> str | tuple[str, int]:
    """A path, or a host and a port, from how a unit file writes it."""
    if where.startswith("/"):
        return where
    host, _colon, port = where.rpartition(":")
    if not port.isdecimal():
        raise ConfigError(f"'{where}' is no address to listen on", hint="run the play that wrote it again: site.yml")
    return host.strip("[]"), int(port)


def _stream(where: str) -> socket.socket:
    """A socket of the family that an address has."""
    target = _bound(where)
    if isinstance(target, str):
        return socket.socket(socket.AF_UNIX)
    return socket.socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET)


def differ(app: App) -> bool:
    """Whether the installed units are not the pinned ones. The stand-in's does not count: it is of its last start."""
    names, here = serving(app), installed(app)
    if not names or not (app.pinned / "units").is_dir():
        return True
    wanted = rendered(app, app.pinned / "units", names)
    return any(here.get(name) != text for name, text in wanted.items() if name != stand_in(app))


def require_usable(app: App, name: str) -> None:
    """Refuse an address that the socket unit of that name could not be opened at, and a group that is not there.

    :raises ConfigError: something else listens there, or the host has no such address or group.
    """
    state = still_live(app, "nothing was changed: ")
    group = setting((app.config / "units" / plain_socket(app)).read_text(), "SocketGroup")
    if group and group not in {entry.gr_name for entry in grp.getgrall()}:
        raise ConfigError(
            f"django_socket_group: there is no group '{group}' on this host",
            state=state,
            hint="give the group of the web server",
        )
    where = wanted_address(app)
    if name in installed(app) or where.startswith("/"):
        return
    with _stream(where) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(_bound(where))
        except OSError as error:
            hint = "choose an address that is free"
            if error.errno == errno.EADDRINUSE:
                hint += "; if the app itself has that port on other addresses, change to another port first"
            message = f"{app.variable('listen')}: cannot listen on {where}: {os.strerror(error.errno or 0)}"
            raise ConfigError(message, state=state, hint=hint) from None


def prepare(app: App, names: list[str], system: Systemd) -> None:
    """Install the stand-in's unit, and open the sockets it listens on: those of the service, so that both share them.

    Without a live release all units are installed, since systemd opens no socket of a service that it does not know.

    :param names: the socket units of this activation. Without a live release the first of them is opened.
    :raises ActivationError: a socket could not be opened.
    """
    wanted, *others = serving(app) or names[:1]
    shared = [wanted, *(name for name in others if system.active(name))]
    texts = rendered(app, app.config / "units", shared)
    _write({stand_in(app): texts[stand_in(app)]} if serving(app) else texts)
    system.control("daemon-reload")  # also for what an activation that broke off has written
    if system.active(wanted) and is_open(app, wanted):
        return
    is_up = system.active(service(app))
    if is_up:  # systemd opens no socket of a service that runs
        system.control("stop", service(app))
    result = system.control("restart", wanted)
    if result.returncode != 0:
        raise ActivationError(
            f"{app.name}: the socket could not be opened",
            state="nothing serves" if is_up else "nothing was changed",
            hint=f"look at: journalctl -u {wanted}",
            log=result.stderr.strip(),
        )


def install(app: App, pin: Path, names: list[str], system: Systemd) -> str:
    """Make the units of a pinned configuration the ones that systemd knows. The service has to restart then.

    :param names: the socket units that the service listens on from its next start.
    :returns: systemd's message if it refused; empty otherwise.
    """
    texts = rendered(app, pin / "units", names)
    try:
        written = _write(texts)
    except OSError as error:
        return f"{DIRECTORY}: {error.strerror}"
    if written:
        system.control("daemon-reload")
    # systemd hands over every open socket that belongs to a service. One that is left is closed before the restart.
    if left := [name for name in installed(app) if name.endswith(".socket") and name not in names]:
        system.control("stop", *left)
    # Only a boot follows the links that this makes. A reload takes as long as the rest of a swap on a busy host.
    result = system.control("enable", "--quiet", "--no-reload", *names, service(app))
    if result.returncode:
        return result.stderr.strip() or "systemctl enable failed"
    try:
        _give_to_group(texts[names[0]])
    except (LookupError, OSError) as error:  # what is put back may name a group that has gone since
        return f"{names[0]}: {error}"
    return ""


def _give_to_group(text: str) -> None:
    """Let the group that a socket unit names connect. systemd sets it only when it opens the socket."""
    path, group = Path(address(text)), setting(text, "SocketGroup")
    if group and path.is_socket():
        shutil.chown(path, group=group)


def remove_others(app: App, names: list[str], system: Systemd) -> None:
    """Stop, disable and remove the units that the pinned configuration does not have.

    :param names: the socket units that the service listens on.
    """
    wanted = {*names, *rendered(app, app.pinned / "units", names)}
    others = {name: text for name, text in installed(app).items() if name not in wanted}
    if not others:
        return
    system.control("stop", *(name.replace("@.", "@*.") for name in others))
    system.control("disable", "--quiet", *others)
    for name, text in others.items():
        (DIRECTORY / name).unlink()
        if name.endswith(".socket") and address(text).startswith("/"):
            Path(address(text)).unlink(missing_ok=True)
    system.control("daemon-reload")


def adopt(app: App, pin: Path) -> None:
    """Add the installed units to a configuration that an older djangoctl pinned without them."""
    if (pin / "units").is_dir():
        return
    part = pin / ".units"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for name, text in installed(app).items():
        (part / name).write_text(text)
    part.rename(pin / "units")


def _write(texts: dict[str, str]) -> bool:
    """Replace the unit files that differ, each by rename, and return whether there were any.

    Sockets come first: a host that goes down in between must not boot a service that requires one it does not have.
    """
    changed = {name: text for name, text in texts.items() if not _has(DIRECTORY / name, text)}
    for name, text in sorted(changed.items(), key=lambda entry: not entry[0].endswith(".socket")):
        write(DIRECTORY / name, text)
    return bool(changed)


def _has(path: Path, text: str) -> bool:
    return path.is_file() and not path.is_symlink() and path.read_text(errors="replace") == text
