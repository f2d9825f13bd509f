"""One host with its two apps: their secrets, their visitors, and a controller that is told to change something."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from shared.outside import CONTROLLER, ROOT, Browser, address_of, control, visiting

WATCH = Path(__file__).with_name("watch.py")
SOCKET = "/run/redis/redis-server.sock"
# What a process of an app has of its servers and its key.
SECRETS = ("SECRET_KEY", "DATABASE_PASSWORD", "REDIS_PASSWORD")


class Site:
    """A host of the scenario.

    :param authority: a PEM file with the authority of the host.
    :param inventory: for ansible-playbook; that of the scenario with this host alone if not given.
    """

    def __init__(self, name: str, authority: str, inventory: tuple[str, ...] = ()) -> None:
        self.name, self.authority = name, authority
        names = [os.environ["MOLECULE_INVENTORY_FILE"], "molecule/rotate/inventory"]
        self.inventory = inventory or (f"--limit={name}", *(f"--inventory={each}" for each in names))

    def browser(self, app: str) -> Browser:
        return Browser(address_of(self.name), f"{app}.test", self.authority)

    # The host

    def on(self, *words: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            ["docker", "exec", "-i", self.name, *words],
            capture_output=True,
            text=True,
            input=stdin,
            timeout=300,
            check=False,
        )
        assert not check or result.returncode == 0, f"{words} on {self.name}: {result.stdout}{result.stderr}"
        return result

    def sql(self, statement: str, database: str = "postgres") -> str:
        return self.on("psql", "-U", "postgres", "-qtA", "-d", database, "-c", statement).stdout.strip()

    def logins(self, app: str) -> list[str]:
        """The roles of an app that may connect."""
        return self.sql(
            f"select rolname from pg_roles where rolcanlogin and starts_with(rolname, '{app}') order by 1"
        ).splitlines()

    def environment(self, app: str) -> dict[str, str]:
        """What the app's own processes have, as the kernel knows it; nothing while the service restarts."""
        unit = f"django-{app}.service"
        pid = self.on("systemctl", "show", "--property=MainPID", "--value", unit).stdout.strip()
        pairs = self.on("cat", f"/proc/{pid}/environ", check=False).stdout.split("\0")
        return dict(pair.partition("=")[::2] for pair in pairs if pair)

    def secrets(self, app: str) -> dict[str, str]:
        found = self.environment(app)
        return {name: found[name] for name in (*SECRETS, "DATABASE_USER")}

    def enters_postgresql(self, app: str, secrets: dict[str, str]) -> bool:
        """Whether somebody enters with these secrets."""
        words = ["env", f"PGPASSWORD={secrets['DATABASE_PASSWORD']}", "psql", "-w", "-qtA", "-h", "/run/postgresql"]
        result = self.on(*words, "-U", secrets["DATABASE_USER"], "-d", app, "-c", "select current_user", check=False)
        assert result.returncode or result.stdout.strip() == app, "what it makes would be its own"
        return result.returncode == 0

    def begin_query(self, app: str, secrets: dict[str, str], seconds: int) -> subprocess.Popen[str]:
        """A query that takes a while; returns when it runs."""
        words = ["env", f"PGPASSWORD={secrets['DATABASE_PASSWORD']}", "psql", "-w", "-qtA", "-h", "/run/postgresql"]
        words += ["-U", secrets["DATABASE_USER"], "-d", app, "-c", f"select pg_sleep({seconds})"]
        process = subprocess.Popen(["docker", "exec", "-i", self.name, *words], stdin=subprocess.DEVNULL, text=True)
        for _try in range(100):
            if self.sql("select count(*) from pg_stat_activity where query like 'select pg_sleep(%'") == "1":
                return process
            time.sleep(0.1)
        raise AssertionError("the query does not run")

    def enters_redis(self, app: str, secrets: dict[str, str]) -> bool:
        words = ["env", f"REDISCLI_AUTH={secrets['REDIS_PASSWORD']}", "redis-cli", "-e", "-s", SOCKET, "--user", app]
        result = self.on(*words, "--no-auth-warning", "PING", check=False)
        assert result.returncode == 0 or "WRONGPASS" in result.stdout + result.stderr
        return result.returncode == 0

    # The controller

    def command(self, playbook: str, *words: str, **variables: Any) -> list[str]:
        return [
            *("ansible-playbook", f"{playbook}.yml", *self.inventory),
            f"--extra-vars={json.dumps(variables)}",
            *words,
        ]

    def run(self, playbook: str, *words: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        """Run a playbook from the root."""
        return control(*self.command(playbook, *words, **variables))

    def play(self, playbook: str, *words: str, **variables: Any) -> str:
        """The same; it must succeed. Returns what it said."""
        result = self.run(playbook, *words, **variables)
        assert result.returncode == 0, result.stdout[-8000:] + result.stderr
        return result.stdout + result.stderr

    def play_until(self, true: Callable[[], bool], playbook: str, **variables: Any) -> None:
        """Run a playbook, and end its controller as a power cut does as soon as something holds."""
        process = subprocess.Popen(
            self.command(playbook, **variables),
            cwd=ROOT,
            env=CONTROLLER,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            while not true():
                assert process.poll() is None, "it ended before"
                time.sleep(0.05)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    # Everybody else

    @contextmanager
    def visitors(self, *apps: str) -> Iterator[dict[str, int]]:
        """Visitors of apps while something happens, of whom everybody must be served; yields how many there were.

        They ask for the page that asks both servers, and write.
        """
        seen: dict[str, int] = {}
        ways = ("--path=/healthz", "--connections=3", "--pause=0.1", "--post-every=5")
        with ExitStack() as stack:
            ends = {
                app: stack.enter_context(visiting(address_of(self.name), f"{app}.test", self.authority, *ways))
                for app in apps
            }
            yield seen
        for app, end in ends.items():
            assert end["failed"] == 0, f"{app}: {end['failed']} of {end['requests']} requests failed: {end['examples']}"
            assert end["requests"] > 20, end
            seen[app] = end["requests"]

    def log_in(self, app: str) -> Browser:
        """A browser with a session of the admin site."""
        code = (
            "from django.contrib.auth.models import User;"
            "User.objects.filter(username='root').exists() or User.objects.create_superuser('root', password='entry-1')"
        )
        self.on("djangoctl", app, "manage", "shell", "-c", code)
        browser = self.browser(app)
        answer = browser.submit("/admin/login/", {"username": "root", "password": "entry-1", "next": "/admin/"})
        assert answer.status == 302, answer.data
        assert is_logged_in(browser)
        return browser

    @contextmanager
    def staying(self, *browsers: Browser) -> Iterator[None]:
        """A session that is used all the while, with each of these in turn, and that nobody ends."""
        over, lost = threading.Event(), []

        def stay() -> None:
            for browser in itertools.cycle(browsers):
                if over.wait(0.05):
                    return
                if not is_logged_in(browser):
                    lost.append(browser.address)
                    return

        thread = threading.Thread(target=stay)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        assert lost == []

    @contextmanager
    def watched(self) -> Iterator[list[str]]:
        """Collects the command lines of all processes that the host has meanwhile."""
        found: list[str] = []
        process = subprocess.Popen(
            ["docker", "exec", "-i", self.name, "python3", "-c", WATCH.read_text()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield found
        finally:
            found += json.loads(process.communicate(timeout=60)[0])


def is_logged_in(browser: Browser) -> bool:
    return browser.get("/admin/").status == 200
