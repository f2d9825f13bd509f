"""Replaces this process by a command inside a release: `djangoctl <app> exec <release> <command...>`.

Every process of an app starts here. It resolves the link `current` once, so that modules which are imported later come
from the release that the process started in, not from the one that `current` points to by then.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from .app import App
from .errors import ConfigError
from .login import login_of
from .release import Release, is_identity, read_json, unknown

# The environment contract: the only names that a value of `environment:` may refer to. URLs may refer to parts.
PARTS = (
    *("DATABASE_NAME", "DATABASE_ROLE", "DATABASE_USER", "DATABASE_PASSWORD", "DATABASE_HOST", "DATABASE_PORT"),
    *("DATABASE_SSLMODE", "DATABASE_SSLROOTCERT", "DATABASE_POOLER"),
    *("REDIS_USER", "REDIS_PASSWORD", "REDIS_HOST", "REDIS_PORT", "REDIS_PREFIX", "REDIS_SSL_CA_CERTS"),
)
URLS = ("DATABASE_URL", "DATABASE_DIRECT_URL", "CACHE_URL", "REDIS_URL")
POOLED = ("DATABASE_URL", "DATABASE_HOST", "DATABASE_PORT")
CONTRACT = (
    *(
        "DJANGO_SETTINGS_MODULE",
        "SECRET_KEY",
        "SECRET_KEY_FALLBACKS",
        "ALLOWED_HOSTS",
        "CSRF_TRUSTED_ORIGINS",
        *URLS,
        *PARTS,
    ),
    *("STATIC_ROOT", "STATIC_URL", "MEDIA_ROOT", "MEDIA_URL", "RELEASE_ID"),
)
LINKS = ("current", "next")
GUNICORN = Path(__file__).parent.with_name("gunicorn.conf.py")
GATE = Path(__file__).with_name("gate.py")
REFERENCE = re.compile(r"\$\{(" + "|".join(CONTRACT) + r")\}")
PART = re.compile(r"\$\{(" + "|".join(PARTS) + r")\}")


def environment(app: App, release: Path, record: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process of that release.

    :param record: the release's release.json.
    :param given: the variables that systemd read from the app's environment files.
    """
    venv = release / "venv"
    result = {
        "DJANGO_SETTINGS_MODULE": record.get("settings_module", ""),
        **given,
        "DJANGOFLEET_APP": str(app.settings_file),
        "RELEASE_ID": release.name,
        "STATIC_ROOT": given.get("STATIC_ROOT") or str(release / "static"),
        "VIRTUAL_ENV": str(venv),
        "PATH": f"{venv}/bin:{given.get('PATH', '/usr/local/bin:/usr/bin:/bin')}",
        "PYTHONUNBUFFERED": "1",
    }

    if (role := given.get("DATABASE_ROLE")) and (password := given.get("DATABASE_PASSWORD")):
        result.setdefault("DATABASE_USER", login_of(role, password))

    _turn_to_pooler(result)

    def found(match: re.Match[str]) -> str:
        return result.get(match[1], "")

    # A password that a host has made is on no other place than its own file.
    result |= {name: PART.sub(found, result[name]) for name in URLS if name in result}
    return {name: value if name in CONTRACT else REFERENCE.sub(found, value) for name, value in result.items()}


def _turn_to_pooler(result: dict[str, str]) -> None:
    """Put the pooler in the database's place where the unit names it: all else speaks to the database itself."""
    pooler = {name: result.pop(name.replace("_", "_POOLER_", 1), "") for name in POOLED}
    if result.get("DATABASE_POOLER") and pooler["DATABASE_HOST"]:
        result |= {name: value for name, value in pooler.items() if value}
        for name in ("DATABASE_SSLMODE", "DATABASE_SSLROOTCERT"):
            result.pop(name, None)


def resolve(app: App, name: str) -> Path:
    """The directory of a release, given by its id or by one of the links `current` and `next`.

    :raises ConfigError: there is no such release.
    """
    path = app.root / name if name in LINKS else app.releases / name
    if name == "current" and app.is_pinned and os.path.lexists(app.pinned / "release"):
        path = app.pinned / "release"  # the one that this configuration was pinned for
    if not (name in LINKS or is_identity(name)) or not path.exists():
        raise unknown(app, name)
    return path.resolve()


def command(app: App, words: list[str]) -> list[str]:
    """The command line to run. `manage.py` is the project's; a packaged app uses `python -m django`."""
    if words[0] != "manage.py":
        return words
    return ["python", *(["-m", "django"] if app.build["packaged"] else ["manage.py"]), *words[1:]]


def _require_sockets(app: App, units: list[str]) -> None:
    """Refuse to serve without the sockets of these units: gunicorn would open one of its own, where nobody asks.

    See sd_listen_fds(3). An older unit file names no sockets.
    """
    given = os.environ.get("LISTEN_FDNAMES", "").split(":") if os.environ.get("LISTEN_PID") == str(os.getpid()) else []
    count = int(os.environ.get("LISTEN_FDS") or 0) if given else 0
    if count < max(1, len(units)) or not set(units) <= set(given):
        raise ConfigError(
            f"{app.name}: systemd has not handed over {' '.join(units) or 'a socket'}; it gave: "
            f"{' '.join(filter(None, given)) or 'none'}",
            hint=f"activate the live release again, which opens it: djangoctl {app.name} activate <id>",
        )


def run(app: App, name: str, words: list[str]) -> None:
    """Replace this process by a command inside a release. Does not return.

    `serve` runs gunicorn with the release's application, `gate` its health check. The words after `serve` are the
    socket units that it must have been given.

    :raises ConfigError: there is no such release or command, or systemd has not handed over the sockets.
    """
    if not words:
        raise ConfigError(f"{app.name}: exec {name} needs a command")
    release = resolve(app, name)
    record = read_json(release / "release.json")
    os.chdir(release / "source" / app.build["project_dir"])
    if words[:1] == ["serve"]:
        _require_sockets(app, words[1:])
        words = ["gunicorn", "--config", str(GUNICORN), Release(release, record).application]
    if words == ["gate"]:
        words = ["python", str(GATE), str(app.settings_file), Release(release, record).application]
    words = command(app, words)
    try:
        os.execvpe(words[0], words, environment(app, release, record, os.environ))
    except FileNotFoundError:
        raise ConfigError(f"{app.name}: release {release.name} has no command '{words[0]}'") from None
