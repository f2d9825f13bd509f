"""The rules of role redis: settings, users, what is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest
from ansible_collections.djangofleet.stack.plugins.plugin_utils.redis import (
    acl_line,
    hashed,
    redis_config,
    redis_packages,
    redis_problems,
    redis_questions,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import resolve, spec_of

SHOP = {"name": "shop", "passwords": ["p4ssw0rd"], "keys": ["shop:*"]}
REMOTE = {"redis_listen_addresses": ["10.0.0.7"], "redis_certificate_file": "/c", "redis_key_file": "/k"}


def options(**given):
    """The role's variables as its spec means them."""
    found, wrong = resolve(spec_of("redis"), {"redis_enabled": True, **given})
    assert wrong == []
    return found


def wrong(**given):
    return redis_problems({"redis_enabled": True, **given}, {})


def config(memory=4000, **given):
    return redis_config(options(**given), {"memory": memory})


def test_a_host_without_users_gets_nothing():
    assert redis_packages({**options(), "redis_enabled": False}) == []
    assert redis_questions({"redis_enabled": False}) == {}
    assert redis_problems({"redis_enabled": False, "redis_maxmemory": "much"}, {}) == []


def test_it_listens_on_its_socket_alone():
    settings = config()["settings"]
    assert (settings["port"], settings["tls-port"]) == ("0", "0")
    assert "bind" not in settings
    assert settings["unixsocket"] == "/run/redis/redis-server.sock"


def test_for_other_hosts_it_speaks_tls_alone():
    settings = config(**REMOTE)["settings"]
    assert (settings["port"], settings["tls-port"], settings["bind"]) == ("0", "6379", "10.0.0.7")
    assert (settings["tls-cert-file"], settings["tls-key-file"]) == ("/c", "/k")


def test_the_inventorys_certificate_wins_over_the_wired_one():
    wired = {"listen_addresses": ["10.0.0.7"], "certificate_file": "/w", "key_file": "/wk"}
    assert config(redis_app_server=wired)["settings"]["tls-cert-file"] == "/w"
    found = config(redis_app_server=wired, **{**REMOTE, "redis_listen_addresses": []})["settings"]
    assert (found["tls-cert-file"], found["bind"]) == ("/c", "10.0.0.7")


def test_memory_follows_the_host():
    assert config()["settings"]["maxmemory"] == "400000000"
    assert config(redis_memory_share=0.5)["settings"]["maxmemory"] == "2000000000"
    assert config(redis_maxmemory="64mb")["settings"]["maxmemory"] == "64mb"


@pytest.mark.parametrize(
    ("persistence", "appendonly", "save"),
    [("none", "no", ""), ("rdb", "no", "3600 1 300 100 60 10000"), ("aof", "yes", "")],
)
def test_what_is_there_after_a_restart(persistence, appendonly, save):
    settings = config(redis_persistence=persistence)["settings"]
    assert (settings["appendonly"], settings["save"]) == (appendonly, save)


def test_what_the_running_server_takes_is_all_but_its_places():
    found = config(redis_settings={"timeout": 300, "lazyfree-lazy-user-del": True})
    assert (found["settings"]["timeout"], found["settings"]["lazyfree-lazy-user-del"]) == ("300", "yes")
    assert set(found["settings"]) - set(found["own"]) == {
        "port", "unixsocket", "unixsocketperm", "dir", "aclfile", "timeout", "lazyfree-lazy-user-del",
    }  # fmt: skip


def test_a_user_has_its_keys_and_no_password_in_plain_text():
    line = acl_line(options(redis_users=[SHOP])["redis_users"][0])
    digest = hashlib.sha256(b"p4ssw0rd").hexdigest()
    assert line == f"user shop on #{digest} resetkeys resetchannels ~shop:* &shop:* +@all -@admin -@dangerous +info"


def test_two_passwords_are_for_the_time_of_a_change():
    line = acl_line(options(redis_users=[{**SHOP, "passwords": ["p4ssw0rd", "0ther-one"]}])["redis_users"][0])
    assert line.count("#") == 2


def test_a_wired_user_whose_password_is_not_read_yet_is_left_out():
    wired = [{**SHOP, "passwords": []}]
    assert config(redis_app_users=wired)["users"] == []
    assert wrong(redis_app_users=wired) == []


OLD, NEW = hashed("0ld-p4ssw0rd"), hashed("p4ssw0rd")
ACL = f"user default off -@all\nuser shop on {OLD} resetkeys ~shop:*\nuser other on {NEW} ~*\n"


def hashes(line):
    return [word for word in line.split() if word.startswith("#")]


@pytest.mark.parametrize(
    ("acl", "changing", "found"),
    [
        ("", ["shop"], [NEW]),
        (ACL, ["shop"], [NEW, OLD]),
        (ACL, ["shop", "other"], [NEW, OLD]),
        (ACL, [], [NEW]),
        (ACL, ["other"], [NEW]),
        (ACL.replace(OLD, NEW), ["shop"], [NEW]),
        (ACL.replace(OLD, f"{NEW} {OLD}"), ["shop"], [NEW, OLD]),
        (ACL.replace(OLD, "nopass"), ["shop"], [NEW]),
    ],
)
def test_an_app_keeps_its_password_until_it_is_live_with_another(acl, changing, found):
    config = redis_config(options(redis_app_users=[SHOP], redis_app_changing=changing), {"memory": 4000}, acl)
    assert hashes(config["users"][0]) == found


@pytest.mark.parametrize(("changing", "patterns"), [(["shop"], ["~store:*", "~shop:*"]), ([], ["~store:*"])])
def test_an_app_keeps_its_keys_until_it_is_live_with_another_prefix(changing, patterns):
    wired = [{**SHOP, "keys": ["store:*"]}]
    (line,) = redis_config(options(redis_app_users=wired, redis_app_changing=changing), {"memory": 4000}, ACL)["users"]
    assert [word for word in line.split() if word.startswith("~")] == patterns


@pytest.mark.parametrize(("changing", "names"), [(["shop", "other"], ["shop", "other"]), (["shop"], ["shop"])])
def test_an_app_that_leaves_redis_keeps_its_user_until_it_has_gone(changing, names):
    config = redis_config(options(redis_app_users=[SHOP], redis_app_changing=changing), {"memory": 4000}, ACL)
    assert [line.split()[1] for line in config["users"]] == names
    if "other" in names:
        assert config["users"][1] == f"user other on {NEW} ~*"


LISTENER = {"listen_addresses": ["10.0.0.7"], "certificate_file": "/c", "key_file": "/k"}
LISTENED = "tls-port 6379\nbind 10.0.0.7\ntls-cert-file /c\n"


@pytest.mark.parametrize(
    ("before", "changing", "port"),
    [
        (LISTENED, ["shop"], "6379"),
        (LISTENED, [], "0"),
        (LISTENED.replace("/c", "/of-the-inventory"), ["shop"], "0"),
        ("tls-port 0\n", ["shop"], "0"),
        ("", ["shop"], "0"),
    ],
)
def test_a_server_listens_until_the_last_app_of_the_network_has_gone(before, changing, port):
    given = options(redis_app_users=[SHOP], redis_app_changing=changing, redis_app_listener=LISTENER)
    settings = redis_config(given, {"memory": 4000}, before)["settings"]
    assert settings["tls-port"] == port
    assert settings.get("tls-key-file") == ("/k" if port != "0" else None)


def test_a_user_of_the_inventory_has_the_passwords_that_it_says():
    config = redis_config(options(redis_users=[SHOP]), {"memory": 4000}, ACL)
    assert [hashes(line) for line in config["users"]] == [[NEW]]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"redis_memory_share": 10}, "redis_memory_share: found '10.0'; give a share"),
        ({"redis_maxmemory": "much"}, "redis_maxmemory: found 'much'; give a size such as 512mb"),
        ({"redis_maxmemory_policy": "lru"}, "redis_maxmemory_policy: found 'lru'; give one of"),
        ({"redis_persistence": "disk"}, "redis_persistence: found 'disk'; give one of none, rdb, aof"),
        ({"redis_settings": {"save": "1 1"}}, "redis_settings.save: is the role's own; give redis_persistence"),
        ({"redis_settings": {"Time out": 1}}, "redis_settings: found 'Time out'; give the name"),
        ({"redis_settings": {"timeout": [1]}}, "redis_settings.timeout: found '[1]'; give a text"),
        ({"redis_listen_addresses": ["cache.test"]}, "redis_listen_addresses[0]: found 'cache.test'; give an address"),
        ({"redis_listen_addresses": ["10.0.0.7"]}, "redis_certificate_file: is missing"),
        ({"redis_key_file": "/k"}, "redis_certificate_file: is missing beside redis_key_file"),
        ({"redis_users": [{**SHOP, "name": "default"}]}, "redis_users[default].name: found 'default'; give letters"),
        ({"redis_users": [{**SHOP, "name": "djangofleet"}]}, "redis_users[djangofleet].name: found 'djangofleet'"),
        ({"redis_users": [{**SHOP, "passwords": []}]}, "redis_users[shop].passwords: found (not shown); give one or"),
        ({"redis_users": [{**SHOP, "passwords": ["a b c d e"]}]}, "redis_users[shop].passwords: found (not shown)"),
        ({"redis_users": [{**SHOP, "keys": ["a b"]}]}, "redis_users[shop].keys[0]: found 'a b'; give a pattern"),
        ({"redis_users": [{**SHOP, "commands": "all"}]}, "redis_users[shop].commands: found 'all'; give rules"),
        ({"redis_users": [SHOP, SHOP]}, "redis_users[].name: 'shop' is there 2 times"),
        ({"redis_users": [SHOP], "redis_app_users": [SHOP]}, "redis_users[].name: 'shop' is there 2 times"),
    ],
)
def test_what_is_wrong_is_told(given, line):
    found = wrong(**given)
    assert [each for each in found if each.startswith(line)], found


def test_it_listens_for_apps_where_its_host_is():
    wired = {"listen_addresses": ["203.0.113.5"], "certificate_file": "/c", "key_file": "/k"}
    given = {"redis_enabled": True, "redis_app_server": wired}
    (line,) = redis_problems(given, {"all_ipv4_addresses": ["10.0.0.7"]})
    assert line.startswith("host_private_address: Redis is to listen at 203.0.113.5 for apps on other hosts")
    assert redis_problems(given, {"all_ipv4_addresses": ["203.0.113.5"]}) == []
    assert redis_problems(given, {}) == []


# What is done before a start, and when a running server changes

PREPARE = "usr/local/lib/djangofleet/redis-prepare.j2"
RELOAD = "usr/local/lib/djangofleet/redis-reload.j2"
NOW = 1_800_000_000
SERVER = """#!/bin/sh
echo "$@" >>{place}/servers
while [ "$1" != --unixsocket ]; do shift; done
touch "$2"
exec sleep 60
"""


def dump(moment: int) -> bytes:
    """The beginning of a dump.rdb, which says when it was begun to be written."""
    return b"REDIS0010\xfa\x09redis-ver\x067.0.15\xfa\x0aredis-bits\xc0@\xfa\x05ctime\xc2" + moment.to_bytes(
        4, "little"
    )


def program(path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


class Data:
    """The directory of a server's data, and the start that reads it."""

    def __init__(self, place, render) -> None:
        self.place, self.path = place, place / "data"
        self.path.mkdir()
        program(place / "bin/redis-prepare", render("redis", PREPARE))
        program(place / "bin/redis-server", SERVER.format(place=place))
        saved = f"printf saved >{self.path}/dump.rdb; echo OK"
        program(
            place / "bin/redis-cli",
            f'#!/bin/sh\ncase "$3" in PING) [ ! -e "$2" ] || echo PONG;; SAVE) {saved};; esac\n',
        )

    def write(self, name: str, content: bytes, moment: int) -> None:
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (moment, moment))

    def aof(self, moment: int, name: str = "appendonlydir/appendonly.aof") -> None:
        self.write(f"{name}.1.base.rdb", b"base", moment - 500)
        self.write(f"{name}.1.incr.aof", b"rows", moment)
        self.write(f"{name}.manifest", b"file appendonly.aof.1.base.rdb seq 1 type b\n"
                   b"file appendonly.aof.1.incr.aof seq 1 type i startoffset 0\n", moment - 500)  # fmt: skip

    def start(self, persistence: str, code: int = 0, **settings: str) -> str:
        found = {**config(redis_persistence=persistence, redis_settings=settings)["settings"], "dir": str(self.path)}
        lines = [f"{name} {value or chr(34) * 2}\n" for name, value in found.items()]
        (self.place / "djangofleet.conf").write_text("# Ansible\n\n" + "".join(lines))
        result = subprocess.run(
            [sys.executable, self.place / "bin/redis-prepare", self.place / "djangofleet.conf"],
            env={"PATH": f"{self.place}/bin:/usr/bin:/bin"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == code, result.stderr
        return result.stderr

    def files(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.path)): path.read_bytes() for path in self.path.rglob("*") if path.is_file()}


@pytest.fixture
def data(tmp_path, render) -> Data:
    return Data(tmp_path, render)


@pytest.mark.parametrize(
    "settings", [{}, {"dbfilename": "shop.rdb", "appenddirname": "aof", "appendfilename": "x.aof"}]
)
def test_an_aof_begins_with_what_dump_rdb_has(data, settings):
    """The server itself would come up empty."""
    dumped, directory, name = (
        ("shop.rdb", "aof", "x.aof") if settings else ("dump.rdb", "appendonlydir", "appendonly.aof")
    )
    data.write(dumped, dump(NOW), NOW)
    data.start("aof", **settings)
    manifest = f"file {name}.1.base.rdb seq 1 type b\n".encode()
    expected = {
        dumped: dump(NOW),
        f"{directory}/{name}.1.base.rdb": dump(NOW),
        f"{directory}/{name}.manifest": manifest,
    }
    assert data.files() == expected
    data.start("aof", **settings)
    assert data.files() == expected, "it is made once"


def test_an_aof_that_never_became_whole_is_none(data):
    data.write("dump.rdb", dump(NOW), NOW)
    data.write("appendonlydir/temp-appendonly.aof.incr", b"some", NOW + 5)
    data.start("aof")
    assert data.files()["appendonlydir/appendonly.aof.1.base.rdb"] == dump(NOW)
    assert data.files()["appendonlydir.before/temp-appendonly.aof.incr"] == b"some"


@pytest.mark.parametrize(
    ("aof", "dumped", "counts"),
    [
        (NOW, None, "aof"),
        (NOW, NOW - 900, "aof"),
        (NOW, NOW, "aof"),
        (NOW, NOW + 1, "dump"),  # of before a time in which dump.rdb was written
    ],
)
@pytest.mark.parametrize("persistence", ["aof", "rdb", "none"])
def test_what_was_written_last_counts(data, persistence, aof, dumped, counts):
    data.aof(aof)
    if dumped:
        data.write("dump.rdb", dump(dumped), NOW + 100)  # it takes its time to be written
    before = data.files()
    data.start(persistence)
    found, servers = data.files(), data.place / "servers"
    if persistence in ("none", counts):
        assert found == before
        return
    assert found["appendonlydir.before/appendonly.aof.1.incr.aof"] == b"rows"
    if persistence == "aof":
        assert found["appendonlydir/appendonly.aof.1.base.rdb"] == dump(dumped)
    else:
        assert found["dump.rdb"] == (b"saved" if counts == "aof" else dump(dumped))
        assert not any(name.startswith("appendonlydir/") for name in found), "it is not taken for the latest again"
        assert servers.exists() == (counts == "aof")
        if counts == "aof":
            assert "--appendonly yes --save  --maxmemory 0 --auto-aof-rewrite-percentage 0" in servers.read_text()


def test_an_aof_of_redis_6_is_one(data):
    data.write("appendonly.aof", b"rows", NOW)
    data.write("dump.rdb", dump(NOW - 900), NOW)
    data.start("aof")
    assert set(data.files()) == {"appendonly.aof", "dump.rdb"}


def test_a_new_server_has_nothing_to_bring(data):
    for persistence in ("none", "rdb", "aof"):
        data.start(persistence)
    assert data.files() == {}


def test_an_aof_that_cannot_be_read_is_not_passed_over(data):
    data.aof(NOW)
    program(data.place / "bin/redis-server", "#!/bin/sh\nexit 1\n")
    program(data.place / "bin/redis-cli", "#!/bin/sh\necho refused\n")
    before = data.files()
    assert "appendonlydir cannot be read; mend it with redis-check-aof" in data.start("rdb", code=1)
    assert data.files() == before


def test_each_start_brings_it_and_no_running_server_restarts_for_that(render, evaluate, dataloader):
    prepare, drop_in = evaluate("redis", "[__redis_prepare, __redis_data_drop_in]")
    text = render("redis", "etc/systemd/system/redis-server.service.d/djangofleet-data.conf.j2", prepare=prepare)
    user = "/usr/bin/setpriv --reuid=redis --regid=redis --init-groups"
    assert f"\nExecStartPre=+{user} {prepare} /etc/redis/djangofleet.conf\n" in text
    tasks, _fact = dataloader.load_from_file("roles/redis/tasks/configure.yml")
    assert [entry["path"] for entry in tasks["djangofleet.stack.tree"]["entries"]][:2] == [
        "{{ __redis_prepare }}", "{{ __redis_data_drop_in }}",
    ]  # fmt: skip
    restart, load, *_others = dataloader.load_from_file("roles/redis/handlers/main.yml", trusted_as_template=True)
    for task, paths, runs in (
        (restart, [drop_in], False),
        (load, [drop_in], True),
        (load, ["/etc/redis/users.acl"], False),
    ):
        variables = {"__redis_tree": {"changed_paths": paths}, "__redis_install": {"missing": []}}
        assert all(evaluate("redis", condition, **variables) for condition in task["when"]) == runs


CLI = """#!{python}
import json, pathlib, sys
words = [word for word in sys.argv[1:] if word not in ("-e", "--no-auth-warning")]
place, aside = pathlib.Path({place!r}), words[1].startswith({place!r})
command = words[2 if aside else 4:]
if not aside:
    with open(place / "asked", "a") as asked:
        print(*command, file=asked)
if command[:2] == ["CONFIG", "GET"]:
    print("appendonly", "no", "save", "3600 1", "timeout", "0", sep="\\n")
if command[:1] == ["INFO"]:
    states = json.loads((place / "states").read_text())
    (place / "states").write_text(json.dumps(states[1:] or states))
    names = ("aof_rewrites", "aof_rewrite_in_progress", "aof_rewrite_scheduled")
    print("# Persistence", *(f"{{name}}:{{value}}" for name, value in zip(names, states[0])), sep="\\r\\n")
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root may start a program as somebody else")
@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([(3, 0, 0), (4, 1, 0), (4, 1, 0), (4, 0, 0)], 0),
        ([(3, 0, 0), (3, 0, 1), (4, 1, 0), (4, 0, 0)], 0),
        ([(3, 0, 0), (4, 1, 0), (4, 0, 1), (5, 1, 0)], 1),
    ],
)
def test_a_running_server_has_an_aof_when_it_is_whole(tmp_path, render, states, code):
    """Or it goes on as it was, and the run says so: dump.rdb is not written beside an AOF that never comes about."""
    place = tmp_path / "bin"
    program(place / "redis-cli", CLI.format(python=sys.executable, place=str(tmp_path)))
    program(place / "redis-server", SERVER.format(place=tmp_path))
    (tmp_path / "states").write_text(json.dumps(states))
    for name in ("users.acl", "secret", "djangofleet.conf"):
        (tmp_path / name).write_text("")
    redis = config(redis_persistence="aof")
    redis["settings"]["aclfile"] = str(tmp_path / "users.acl")
    text = render("redis", RELOAD, redis=redis, administrator="djangofleet", password_file=str(tmp_path / "secret"))
    text = text.replace('dir="/run"', f"dir={str(tmp_path)!r}").replace("/etc/redis/", f"{tmp_path}/")
    program(place / "redis-reload", text.replace('OWNER = "redis"', 'OWNER = "root"'))  # there is no user redis here
    result = subprocess.run(
        [sys.executable, place / "redis-reload"],
        env={"PATH": f"{place}:/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == code, result.stderr
    assert ("the AOF could not be written" in result.stderr) == bool(code)
    asked = (tmp_path / "asked").read_text()
    assert " appendonly yes " in asked
    assert asked.count("INFO persistence") == len(states)
    assert ("CONFIG SET appendonly no save 3600 1\n" in asked) == bool(code)
