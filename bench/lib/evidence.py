"""Whether the contestants did the same work: what there is to see on a host afterwards, as lines to compare."""

from __future__ import annotations

import difflib
import json
import shlex

from .hosts import BenchError, Host

PACKAGES = """
echo "# packages"
dpkg-query --show --showformat '${Package} ${Version} ${db:Status-Status}\\n'
"""
RELEASE = """
cd /srv/guestbook/current
echo "# Python distributions, and whether each is compiled"
for path in venv/lib/python*/site-packages/*.dist-info; do basename "$path"; done
find -L venv/lib venv/bin source -name '*.pyc' | LC_ALL=C sort
echo "# source"
find source -type f -not -name '*.pyc' | LC_ALL=C sort | xargs sha256sum
"""
COLLECTED = """
echo "# static files of the release, collected and compressed"
find -L static -type f | LC_ALL=C sort
"""
SHARED = """
echo "# static files, published and compressed"
(cd /srv/guestbook/static && find . -type f -size +0 | LC_ALL=C sort)
echo "# database"
find /srv/guestbook/data -name '*.sqlite3' -exec basename {} \\;
echo "# configuration of the live release"
cd /etc/djangofleet/guestbook/live/
find . | LC_ALL=C sort | xargs stat -c '%n %F %a %U:%G'
find . -type f -not -name secret | LC_ALL=C sort | xargs sha256sum
echo "# units"
sha256sum /etc/systemd/system/django-guestbook*
"""
ASK = """
set -e
site() { curl --silent --cacert /etc/djangofleet/authority/ca.pem --resolve guestbook.test:443:127.0.0.1 "$@"; }
ask() { site --show-error --fail "$@"; }
"""
STATUS = ASK + "site --output /dev/null --write-out '%{http_code}' https://guestbook.test/healthz"
ANSWERS = """
for path in / /healthz; do ask https://guestbook.test$path >/dev/null; done
page=$(ask https://guestbook.test/)
asset=$(echo "$page" | grep -oE '/static/[^"]+\\.[0-9a-f]{12}\\.css' | head -n 1)
ask --head --header 'Accept-Encoding: br' https://guestbook.test$asset | grep -i '^content-encoding: br'
"""


def collect(host: Host, resources: dict[str, list]) -> list[str]:
    """What a contestant has made of a host.

    Left out is what is to differ: keys, the database's content, times, and the release's name and record.
    """
    lines = host.shell(PACKAGES + RELEASE + SHARED).splitlines()
    # nginx:www-data and the like: names, since numbers depend on the order of the packages
    lines.append("# managed paths")
    for entry in resources["entries"]:
        path = shlex.quote(entry["path"])
        lines += host.shell(
            f"stat -c '%n %F %a %U:%G' {path} 2>&1 | sed 's/regular empty/regular/'", check=False
        ).splitlines()
        if entry["kind"] == "file":
            lines += host.shell(f"sha256sum {path}").splitlines()
        elif entry["kind"] == "link":
            lines += host.shell(f"readlink {path}").splitlines()
    lines.append("# units")
    for unit in [*resources["services"], "django-guestbook.socket", "django-guestbook.service"]:
        states = host.shell(f"systemctl is-enabled {unit}; systemctl is-active {unit}", check=False).split()
        lines.append(f"{unit} {' '.join(states)}")
    return lines


def same(one: Host, other: Host, resources: dict[str, list]) -> None:
    """See that two hosts are alike.

    :raises BenchError: they are not; the text is the difference.
    """
    alike({host.name: collect(host, resources) for host in (one, other)})


def alike(seen: dict[str, list[str]]) -> None:
    """See that two contestants left the same lines behind.

    :param seen: the lines of each, by name.
    :raises BenchError: they are not the same; the text is the difference.
    """
    (one, first), (other, second) = seen.items()
    difference = list(difflib.unified_diff(first, second, one, other, lineterm="", n=0))
    if difference:
        shown = "\n".join(difference[:60])
        raise BenchError(f"{one} and {other} are not alike, so their times do not compare:\n{shown}")


def live_release(host: Host) -> list[str]:
    """What the live release is made of."""
    return host.shell(RELEASE + COLLECTED).splitlines()


def answering(host: Host) -> str:
    """The release that says of itself that it answers."""
    return json.loads(host.shell(ASK + "ask https://guestbook.test/healthz"))["release"]


def page(host: Host) -> str:
    """The page that visitors get."""
    return host.shell(ASK + "ask https://guestbook.test/")


def status(host: Host) -> int:
    """The status of the health page."""
    return int(host.shell(STATUS))


def answers(host: Host) -> None:
    """See that the site answers over TLS, and serves a compressed asset.

    :raises BenchError: it does not.
    """
    try:
        host.shell(ASK + ANSWERS)
    except BenchError as error:
        log = host.shell("journalctl --no-pager --lines=20 -u 'django-*' -u nginx", check=False)
        raise BenchError(f"the site on {host.name} does not answer as it should\n{error}\n{log}") from error


def facts(host: Host) -> dict[str, str | int]:
    """What stands above the figures."""
    script = '. /etc/os-release; echo "$PRETTY_NAME $(cat /etc/debian_version)"; nproc; python3 --version'
    distribution, cpus, python = host.shell(script).splitlines()
    return {"distribution": distribution, "cpus": int(cpus), "python": python.split()[1]}
