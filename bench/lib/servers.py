"""Those who serve the example project in bench/serve: the stack with each worker class, and its peers."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import ansible, resources, serving, ways
from .frame import ROOT
from .hosts import Host
from .timing import Clock

FILES = ROOT / "bench/contestants/serve"
THERE = "/opt/bench/serve"
UV = "UV_SYSTEM_CERTS=true /opt/djangofleet/uv-*/bin/uv"
# Of each app's class: what has an event loop keeps no connection for a thread, so Django's pool keeps some for it.
CLASSES = {"sync": "", "gthread": "", "gevent": "pool", "asgi": "pool"}
BASE = serving.DEFAULT  # whose release, user, database and certificate the peers have
CLIENT = "wrk"
PEER_PACKAGES = ("apache2-bin", "libapache2-mod-wsgi-py3", "media-types", "uwsgi-core", "uwsgi-plugin-python3")
SEED = """
from uuid import uuid4
from entries.models import Entry
Entry.objects.bulk_create(Entry(name=f"visitor {n}", message="hello " * 9, reference=uuid4()) for n in range(50))
"""
UNIT = """
systemd-run --quiet --unit={unit} --property=EnvironmentFile=/etc/djangofleet/{app}/live/secret \
  --property=EnvironmentFile=/etc/djangofleet/{app}/live/env --property=RuntimeDirectory={unit} \
  --property=LogsDirectory={unit} {user} djangoctl {app} exec current {command}
"""


@dataclass(frozen=True)
class Contestant:
    """Somebody who serves.

    :param kinds: what is asked of it.
    :param units: what it runs as; their memory counts.
    :param start: a shell script. What it starts is in `stops` at the end of a visit.
    :param contains: a text that its answers have, headers included.
    """

    name: str
    address: str
    kinds: tuple[str, ...]
    units: tuple[str, ...] = ()
    start: str = ""
    stops: tuple[str, ...] = ()
    domain: str = f"{BASE}.test"
    contains: str = ""


def apps(cache: dict | None, classes: Sequence[str] = tuple(CLASSES)) -> list[dict]:
    """`django_apps`: an app for each worker class, and one whose pages are cached.

    :param cache: what `nginx.cache` of that one is; None without it.
    """
    found = []
    for name in (*classes, *(["cached"] if cache is not None else [])):
        worker_class = BASE if name == "cached" else name
        found.append(
            {
                "name": name,
                "domains": [f"{name}.test"],
                "source": {"path": "{{ bench_source }}"},
                "settings_module": "serving.settings",
                **(
                    {"asgi": "guestbook.asgi:application"} if name == "asgi" else {"wsgi": "guestbook.wsgi:application"}
                ),
                "gunicorn": {"worker_class": worker_class},
                "database": {"engine": "postgresql"},
                "environment": {"BENCH_POOL": "yes"} if CLASSES[worker_class] else {},
                "health": {"path": "/healthz"},
                **({"nginx": {"cache": cache}} if name == "cached" else {}),
            }
        )
    return found


def provide(clock: Clock, site: Host, given: list[dict], *packages: str) -> None:
    """Make the sites, with some entries to show, and the client."""
    source = clock.logs / "source"
    shutil.rmtree(source, ignore_errors=True)
    resources.copy_source(ROOT / "examples/guestbook", source)
    resources.copy_source(FILES / "serving", source / "serving")
    shutil.copy(FILES / "app.txt", source / "requirements.txt")
    ansible.prepare(clock, site)
    # All contestants are there at once, and each keeps a connection for each thread.
    settings = {"max_connections": 400}
    options = json.dumps({"django_apps": given, "bench_source": str(source), "postgresql_settings": settings})
    ansible.site(clock, "site.yml", [site], "-e", options)
    names = " ".join(app["domains"][0] for app in given)
    site.shell(f"echo 127.0.0.1 {names} >>/etc/hosts")
    install = f"apt-get install --yes --no-install-recommends {' '.join(packages)}"
    site.shell(f"export DEBIAN_FRONTEND=noninteractive; (apt-get update && {install}) >/root/apt.log 2>&1")
    site.put(FILES, THERE)
    for app in given:
        site.run("djangoctl", app["name"], "manage", "shell", "-c", SEED)
        site.run("systemctl", "stop", *units_of(app["name"]))


def units_of(app: str) -> tuple[str, str]:
    return f"django-{app}.socket", f"django-{app}.service"


def stack(app: str, name: str = "", kinds: tuple[str, ...] = serving.VIEWS) -> Contestant:
    """An app as the roles have set it up."""
    unit = f"django-{app}"
    return Contestant(
        name=name or app,
        address=f"https://{app}.test",
        kinds=kinds,
        units=(f"{unit}.service", "nginx.service"),
        start=f"systemctl start {unit}.socket {unit}.service\n{ways.READY.format(unit=unit)}",
        stops=units_of(app),
        domain=f"{app}.test",
    )


def peers(site: Host) -> list[Contestant]:
    """The others, set up with as many processes and threads as Gunicorn has in the class that is the default."""
    processes, threads = size_of(site)
    source, user = f"/srv/{BASE}/current/source", f"django-{BASE}"
    values = {
        **{"processes": processes, "threads": threads, "source": source, "user": user, "domain": f"{BASE}.test"},
        **{"venv": f"/srv/{BASE}/current/venv", "static": f"/srv/{BASE}/static"},
        **tls_of(site),
    }
    for name in ("nginx.conf", "apache.conf", "uwsgi.ini"):
        fill(site, name, values)
    site.shell(f"{UV} pip install --quiet --python /usr/bin/python3 --target {THERE}/lib -r {THERE}/granian.txt")
    site.shell(f"nginx -t -q -c {THERE}/nginx.conf")
    site.shell(f"systemd-run --quiet --unit=bench-nginx nginx -c {THERE}/nginx.conf -g 'daemon off;'")
    granian = (
        f"python -m granian --interface wsgi --host 127.0.0.1 --port 8002 --workers {processes} "
        f"--blocking-threads {threads} --backlog 1024 --no-access-log guestbook.wsgi:application"
    )
    gunicorn = (
        f"gunicorn --bind 127.0.0.1:8003 --workers {processes} --threads {threads} --keep-alive 65 "
        "--worker-tmp-dir /dev/shm --no-control-socket guestbook.wsgi:application"
    )
    web = "bench-nginx.service"
    return [
        _peer("nginx + uwsgi", "https", 8441, f"uwsgi --ini {THERE}/uwsgi.ini", web),
        _peer("nginx + granian", "https", 8442, f"env PYTHONPATH={THERE}/lib {granian}", web),
        _peer("apache + mod_wsgi", "https", 8450, f"apache2 -f {THERE}/apache.conf -DFOREGROUND", static=True),
        _peer("gunicorn alone", "http", 8003, gunicorn),
        _peer("runserver", "http", 8004, "manage.py runserver --noreload --nostatic 127.0.0.1:8004"),
        Contestant(serving.STOCK, f"https://{BASE}.test:8443", ("static",), (web,)),
    ]


def _peer(name: str, scheme: str, port: int, command: str, *web: str, static: bool = False) -> Contestant:
    unit = "bench-" + name.split()[-1 if " + " in name else 0].replace("mod_wsgi", "apache")
    # Apache drops its rights itself, when it has read the key.
    user = "" if "apache" in name else f"--property=User=django-{BASE}"
    return Contestant(
        name=name,
        address=f"{scheme}://{BASE}.test:{port}",
        kinds=(*serving.VIEWS, *(["static"] if static else [])),
        units=(f"{unit}.service", *web),
        start=UNIT.format(unit=unit, app=BASE, user=user, command=command),
        stops=(f"{unit}.service",),
    )


def size_of(site: Host, worker_class: str = BASE) -> tuple[int, int]:
    """How many workers and threads Gunicorn has on this host by default."""
    script = (
        "import json, sys; sys.path.insert(0, '/usr/lib/djangofleet'); from djangoctl import sizing; "
        f"size = sizing.auto_workers('{worker_class}', sizing.processors(), sizing.memory()); "
        f"print(size, json.load(open('/etc/djangofleet/{worker_class}/live/app.json'))['gunicorn']['threads'])"
    )
    workers, threads = site.run("python3", "-c", script).split()
    return int(workers), int(threads)


def resize(site: Host, choice: serving.Choice) -> None:
    """Give an app's Gunicorn another size. It is read when the service starts."""
    path = f"/etc/djangofleet/{choice.worker_class}/live/app.json"
    script = (
        "import json, sys; path = sys.argv[1]; given = json.load(open(path)); "
        "given['gunicorn'] |= json.loads(sys.argv[2]); text = json.dumps(given); open(path, 'w').write(text)"
    )
    size = json.dumps({"workers": choice.workers, "threads": choice.threads})
    site.run("python3", "-c", script, path, size)


def tls_of(site: Host) -> dict[str, str]:
    """The certificate of the stack's site and the parameters of its TLS."""
    wanted = {
        "certificate": f"sites/{BASE}.conf ssl_certificate",
        "key": f"sites/{BASE}.conf ssl_certificate_key",
        "ciphers": "djangofleet/tls.conf ssl_ciphers",
        "curves": "djangofleet/tls.conf ssl_ecdh_curve",
    }
    found = {}
    for name, place in wanted.items():
        path, directive = place.split()
        text = site.run("grep", "--max-count=1", "--word-regexp", directive, f"/etc/nginx/{path}")
        found[name] = text.split(maxsplit=1)[1].strip().rstrip(";").strip('"')
    return found


def filled(text: str, values: dict[str, object]) -> str:
    """A text with the values in place of their names in braces. Other braces are the language's own."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", str(value))
    return text


def fill(site: Host, name: str, values: dict[str, object]) -> None:
    """Write one of the contestants' files to the host with its values."""
    text = filled((FILES / name).read_text(), values)
    site.shell(f"printf %s {shlex.quote(text)} >{THERE}/{Path(name).name}")


def versions(site: Host, packages: Sequence[str]) -> dict[str, str]:
    """The versions of the packages, and of what comes from the index."""
    lines = site.run("dpkg-query", "--show", "--showformat", "${Package} ${Version}\n", *packages).splitlines()
    found = dict(line.split() for line in lines)
    for path in site.shell(
        f"ls -d /srv/*/current/venv/lib/python3*/site-packages/*.dist-info {THERE}/lib/*.dist-info", check=False
    ).splitlines():
        name, _, version = Path(path).name.removesuffix(".dist-info").partition("-")
        if name.lower() in ("django", "gunicorn", "gevent", "granian"):
            found[name.lower()] = version
    return found
