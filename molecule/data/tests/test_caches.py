"""Apps on the Redis of their host: it serves, it is closed to everybody else, and each sees its own keys."""

from __future__ import annotations

import hashlib

import pytest

SOCKET = "/run/redis/redis-server.sock"


def password_of(host, app: str = "guestbook") -> str:
    lines = host.check_output("cat /etc/djangofleet/%s/secret", app).splitlines()
    return dict(line.split("=", 1) for line in lines)["REDIS_PASSWORD"]


def redis(host, *words: str, user: str = "guestbook", password: str | None = None) -> tuple[int, str]:
    """What a user of Redis is answered, asked as a user of the host that is none of ours."""
    given = password_of(host) if password is None else password
    command = " ".join(["%s"] * len(words))
    asking = f"env REDISCLI_AUTH=%s redis-cli -e -s {SOCKET} --user %s --no-auth-warning"
    result = host.run(
        f"setpriv --reuid=nobody --clear-groups {asking} {command}",
        given,
        user,
        *words,
    )
    return result.rc, (result.stdout + result.stderr).strip()


def root(host, *words: str) -> str:
    """What the role's own user is answered."""
    command = " ".join(["%s"] * len(words))
    script = (
        f"set -a; . /var/lib/djangofleet/redis/secret; redis-cli -e -s {SOCKET} --user djangofleet --no-auth-warning"
    )
    return host.check_output(f"sh -c '{script} \"$@\"' sh {command}", *words)


@pytest.mark.parametrize(("app", "prefix"), [("guestbook", "guestbook:"), ("third", "third:")])
def test_an_app_keeps_its_cache_there(host, app, prefix):
    """By CACHE_URL, and by variables of the project's own."""
    root(host, "FLUSHALL")
    code = "from django.core.cache import cache; cache.set('kept', 1, 60); print(cache.get('kept'))"
    assert host.check_output("djangoctl %s manage shell -c %s", app, code).splitlines()[-1] == "1"
    assert root(host, "KEYS", "*").splitlines() == [f"{prefix}:1:kept"]


def test_keys_of_another_app_are_out_of_reach(host):
    code, said = redis(host, "SET", "guestbook:x", "1")
    assert (code, said) == (0, "OK")
    for words in (["GET", "second:x"], ["SET", "x", "1"], ["DEL", "second:x"], ["PUBLISH", "second:x", "1"]):
        code, said = redis(host, *words)
        assert code != 0
        assert "NOPERM" in said, said


@pytest.mark.parametrize("words", [["FLUSHALL"], ["FLUSHDB"], ["KEYS", "*"], ["CONFIG", "GET", "*"], ["ACL", "LIST"]])
def test_no_app_administers_the_server(host, words):
    code, said = redis(host, *words)
    assert code != 0
    assert "NOPERM" in said, said


def test_nobody_enters_without_a_name_and_a_password(host):
    for user, password in (("default", ""), ("guestbook", "wrong"), ("second-shop", password_of(host))):
        code, said = redis(host, "PING", user=user, password=password)
        assert code != 0
        assert "NOAUTH" in said or "WRONGPASS" in said, said


def test_it_listens_on_no_network(host):
    assert ":6379" not in host.check_output("ss -lnt")


def test_the_password_is_kept_as_a_hash(host):
    password = password_of(host)
    digest = hashlib.sha256(password.encode()).hexdigest()
    acl = host.check_output("cat /etc/redis/users.acl")
    assert digest in acl
    assert password not in acl
    assert oct(host.file("/etc/redis/users.acl").mode) == "0o640"


def test_the_package_s_own_configuration_is_left(host):
    changed = host.run("dpkg --verify redis-server redis-tools").stdout.splitlines()
    assert [line for line in changed if "/etc/" in line] == []


def test_a_reload_loads_what_is_written(host):
    """As after a new certificate, and by hand."""
    root(host, "CONFIG", "SET", "maxmemory-policy", "noeviction")
    host.check_output("systemctl reload redis-server")
    assert "volatile-lru" in root(host, "CONFIG", "GET", "maxmemory-policy")
