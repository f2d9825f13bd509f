"""Render the roles' templates with Ansible's own engine, without a host and without a play."""

from __future__ import annotations

import copy
import grp
import json
import os
import pwd
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template
from ansible.utils.collection_loader import AnsibleCollectionConfig
from jinja2 import Environment

ROOT = Path(__file__).resolve().parents[2]
ROLES = ROOT / "roles"
sys.path.insert(0, str(ROLES / "django" / "files" / "djangofleet"))  # so that tests can import djangoctl
sys.path.insert(0, str(ROLES / "backup" / "files"))  # and djangofleet_backup
sys.path.insert(0, str(ROLES / "certificate" / "files"))  # and djangofleet_acme
sys.path.insert(0, str(ROLES / "nginx" / "files"))  # and djangofleet_balancer

# Before any test module is imported: those of rules import them as ansible_collections.djangofleet.stack.
if AnsibleCollectionConfig.collection_finder is None:
    init_plugin_loader([str(ROOT / "collections")])

# Below nohup(1) every program would ignore it, also those that tests send it to.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it puts in the background ignore it

# What a role may ask of a host when a test does not care. A test that does passes its own `ansible_facts`.
FACTS: dict[str, Any] = {
    "distribution": "Debian",
    "distribution_major_version": "13",
    "distribution_release": "trixie",
    "os_family": "Debian",
    "service_mgr": "systemd",
    "hostname": "web1",
    "fqdn": "web1.example.com",
    "processor_vcpus": 2,
    "processor_nproc": 2,
    "memtotal_mb": 2048,
}


class Loader(DataLoader):
    """Trusts what it reads, all of which is the project's own: the cache gives a file as its first reader got it."""

    def load_from_file(self, *words: Any, **options: Any) -> Any:
        return super().load_from_file(*words, **{**options, "trusted_as_template": True})


@pytest.fixture(scope="session")
def dataloader() -> Iterator[DataLoader]:
    """One loader for all tests."""
    loader = Loader()
    loader.set_basedir(str(ROOT))
    yield loader
    loader.cleanup_all_tmp_files()


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Compile each template once for all tests: every Templar does it anew, and that is most of what a test takes."""
    compile_anew = Environment.compile
    known: dict[tuple[Any, ...], Any] = {}

    def compile_once(self: Environment, source: Any, *words: Any, **options: Any) -> Any:
        if not isinstance(source, str):
            return compile_anew(self, source, *words, **options)
        # Ansible reads backslashes in files otherwise than in variables, and trims blocks in files only.
        key = (
            str(source),
            type(self),
            self.trim_blocks,
            self.lstrip_blocks,
            self.variable_start_string,
            words,
            *options.items(),
        )
        if key not in known:
            known[key] = compile_anew(self, source, *words, **options)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Environment, "compile", compile_once)
        yield


def _load(loader: DataLoader, room: Path) -> dict[str, Any]:
    """What Ansible reads from a role's room: main.yml, or every file of main/ in order."""
    found: dict[str, Any] = {}
    for path in (room / "main.yml", *sorted((room / "main").glob("*.yml"))):
        if path.is_file():
            # "unsafe" leaves out a deep copy, which takes longer than most templates: nothing here changes the content.
            found |= loader.load_from_file(str(path), cache="all", unsafe=True, trusted_as_template=True) or {}
    return found


@pytest.fixture(scope="session")
def templar(dataloader: DataLoader) -> Callable[..., Templar]:
    """`templar(role, **variables)`: an engine that sees the role's defaults and vars, then the given variables.

    Text in the given variables is data: what looks like a template in it is not evaluated. Pass it through
    `ansible.template.trust_as_template` where a test needs the contrary.
    """

    def build(role: str, **variables: Any) -> Templar:
        path = ROLES / role
        scope = {"ansible_facts": FACTS, "inventory_hostname": "web1", "ansible_check_mode": False}
        # Ansible's order of precedence: defaults, then what a user sets, then the role's own vars.
        scope |= _load(dataloader, path / "defaults")
        scope |= {name: value for name, value in variables.items() if not name.startswith("__")}
        scope |= _load(dataloader, path / "vars")
        scope |= {name: value for name, value in variables.items() if name.startswith("__")}
        scope |= {"role_name": role, "role_path": str(path), "ansible_search_path": [str(path)]}
        return Templar(loader=dataloader, variables=copy.copy(scope))

    return build


@pytest.fixture(scope="session")
def render(templar: Callable[..., Templar]) -> Callable[..., str]:
    """`render(role, template, **variables)`: the text of roles/<role>/templates/<template>."""

    def run(role: str, template: str, **variables: Any) -> str:
        path = ROLES / role / "templates" / template
        assert path.is_file(), f"no such template: {path.relative_to(ROOT)}"
        query = trust_as_template("{{ query('ansible.builtin.template', __unit_template) | first }}")
        result = templar(role, __unit_template=str(path), **variables).template(query)
        assert isinstance(result, str), f"{template} rendered to {type(result).__name__}"
        return result

    return run


@pytest.fixture(scope="session")
def evaluate(templar: Callable[..., Templar]) -> Callable[..., Any]:
    """`evaluate(role, expression, **variables)`: a Jinja expression in the role's scope, as a native value."""

    def run(role: str, expression: str, **variables: Any) -> Any:
        return templar(role, **variables).evaluate_expression(trust_as_template(expression))

    return run


@pytest.fixture(scope="session")
def role_specs() -> dict[str, dict[str, Any]]:
    """Every role's argument_specs, by role name."""
    return {
        path.parents[1].name: yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
        for path in sorted(ROLES.glob("*/meta/argument_specs.yml"))
    }


@pytest.fixture(scope="session")
def app_settings(evaluate: Callable[..., Any]) -> dict[str, Any]:
    """app.json of an app with a name, a domain and a source, as the role django writes it."""
    app = {"name": "shop", "domains": ["shop.example.com"], "source": {"path": "/home/me/shop"}}
    return json.loads(json.dumps(evaluate("django", "__django_settings.settings", django_app=app)))


# How an app of several hosts is configured, with another one on another address of this machine.
FLEET: dict[str, Any] = {
    "host": "app1",
    "peers": {"app2": "127.0.0.2"},
    "port": 443,
    "domain": "shop.example.com",
    "authority_file": "",
    "repository": "",
}


class Clock:
    """Stands in for the module time: sleeping takes no time, and is noted."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


def write_units(config: Path, settings: dict[str, Any], listen: str) -> None:
    """The unit files of an app as the role writes them, with the settings that djangoctl reads."""
    unit, mark = settings["unit"], f"X-Djangofleet-App={settings['name']}"
    services = {f"{unit}.service": "current", f"{unit}-next.service": "next"}
    texts = {
        name: f"[Unit]\nRequires={unit}.socket\nAfter={unit}.socket\n{mark}\n[Service]\nSockets={unit}.socket\n"
        f"ExecStart=/usr/local/bin/djangoctl {settings['name']} exec {release} serve {unit}.socket\n"
        for name, release in services.items()
    }
    texts[f"{unit}.socket"] = f"[Unit]\n{mark}\n[Socket]\nService={unit}.service\nListenStream={listen}\n"
    started = {re.sub("@.*[.]", "@.", name) for name in (*settings["processes"], *settings["timers"])}
    texts |= dict.fromkeys({*started, *settings["unit_files"]} - set(texts), f"[Unit]\n{mark}\n")
    settings["unit_files"] = sorted(texts)
    (config / "units").mkdir(exist_ok=True)
    for path in (config / "units").iterdir():
        path.unlink()
    for name, text in texts.items():
        (config / "units" / name).write_text(text)
    (config / "app.json").write_text(json.dumps(settings))


@pytest.fixture
def make_app(tmp_path: Path, app_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`make_app(name, build={...}, listen=…, **settings)`: an app of djangoctl below tmp_path. Nothing is built yet."""
    import djangoctl.app
    import djangoctl.lock
    import djangoctl.swap
    import djangoctl.units
    import djangoctl.workers

    monkeypatch.setattr(djangoctl.app, "CONFIG_ROOT", tmp_path / "etc")
    monkeypatch.setattr(djangoctl.lock, "RUN", tmp_path / "run")
    monkeypatch.setattr(djangoctl.lock, "LOGS", tmp_path / "log")
    monkeypatch.setattr(djangoctl.swap, "RUN", tmp_path / "run-of-units")
    monkeypatch.setattr(djangoctl.workers, "time", Clock())
    monkeypatch.setattr(djangoctl.units, "DIRECTORY", tmp_path / "systemd")
    monkeypatch.setattr(djangoctl.units, "WEB_SERVER", tmp_path / "nginx")
    monkeypatch.setattr(djangoctl.units, "is_open", lambda _app, _name: True)
    (tmp_path / "systemd").mkdir()
    monkeypatch.setattr(djangoctl.lock.syslog, "syslog", lambda *_: None)
    me, mine = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name

    def make(name: str = "shop", build: dict[str, Any] | None = None, listen: str = "", **settings: Any) -> Any:
        content = copy.deepcopy(app_settings) | {"name": name, "unit": f"django-{name}", "user": me, "group": mine}
        content |= {"root": str(tmp_path / "srv" / name), "unit_files": [], **settings}
        content["build"] |= build or {}
        config = tmp_path / "etc" / name
        config.mkdir(parents=True, exist_ok=True)
        (config / "app.json").write_text(json.dumps(content))
        (config / "env").write_text("")
        write_units(config, content, listen or f"/run/djangofleet/{name}.sock")
        for directory in ("releases/.packages", "static", "media", "shared"):
            (tmp_path / "srv" / name / directory).mkdir(parents=True, exist_ok=True)
        return djangoctl.app.load(name)

    return make


@pytest.fixture
def make_release() -> Callable[..., Any]:
    """`make_release(app, id, {"name": "content"}, **record)`: a good release with those static files."""
    from djangoctl.release import GOOD, Release, point

    def make(app: Any, identity: str, static: dict[str, str] | None = None, live: bool = False, **record: Any) -> Any:
        path = app.releases / identity
        for directory in ("source", "static", "venv/bin"):
            (path / directory).mkdir(parents=True)
        for name, content in (static or {}).items():
            (path / "static" / name).parent.mkdir(parents=True, exist_ok=True)
            (path / "static" / name).write_text(content)
        release = Release(path, {})
        number = len(list(app.releases.iterdir()))
        release.write(**{"state": GOOD, "started_at": f"2026-01-01T00:00:0{number}Z"} | record)
        if live:
            point(app.current, path)
        return release

    return make


def pin(app: Any) -> Any:
    """Pin the configuration of an app for its live release, as an activation does; return the app by the copies."""
    from djangoctl import swap
    from djangoctl.release import point

    copied = swap.copy_configuration(app, app.current.resolve())
    if not app.current.exists():
        (copied.config / "release").unlink()
    point(app.pinned, copied.config)
    return copied
