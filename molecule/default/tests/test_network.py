"""What an app reaches: `guestbook` the host and private addresses, `second` nothing but unix sockets."""

import re

import pytest

PUBLIC = "198.51.100.7"  # of a block for documentation (RFC 5737), which is nobody's
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[-1], 80), timeout=3)
    print('connected')
except OSError as error:
    print('refused:', error)
"""


def inside(host, app: str, program: str):
    """What Python says in the sandbox of an app."""
    result = host.run("djangoctl %s manage shell --verbosity=0 -c %s", app, program)
    assert result.rc == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def public(host):
    """Nginx of the host is at a public address too."""
    host.check_output("ip address add %s/32 dev lo", PUBLIC)
    yield PUBLIC
    host.check_output("ip address del %s/32 dev lo", PUBLIC)


@pytest.mark.parametrize(
    ("app", "place", "reached"),
    [
        ("guestbook", "loopback", True),
        ("guestbook", "private", True),
        ("guestbook", "public", False),
        ("second", "loopback", False),
        ("second", "private", False),
        ("second", "public", False),
    ],
)
def test_an_app_reaches_what_network_says(host, public, address, app, place, reached):
    target = {"loopback": "127.0.0.1", "private": address, "public": public}[place]
    assert host.run("python3 -c %s %s", CONNECT, target).stdout == "connected\n", "it is there for others"
    said = inside(host, app, CONNECT.replace("sys.argv[-1]", repr(target)))
    assert said.startswith("connected") is reached, said


@pytest.mark.parametrize(("app", "most"), [("guestbook", 1.1), ("second", 0.5)])
def test_exposure(host, figure, app, most):
    answer = host.check_output(f"systemd-analyze security --no-pager django-{app}.service").splitlines()[-1]
    exposure = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", answer)[1])
    figure(f"exposure of an app, {'local' if app == 'guestbook' else 'none'}", exposure)
    assert exposure <= most


def test_exposure_with_a_full_network(host, figure):
    host.check_output("mkdir -p /tmp/full")
    host.check_output("systemctl cat django-guestbook.service | grep -v ^IPAddress >/tmp/full/django-guestbook.service")
    command = "cd /tmp/full && systemd-analyze security --offline=true --no-pager ./django-guestbook.service"
    exposure = float(re.search(r"exposure level for \S+: ([\d.]+)", host.check_output(command))[1])
    figure("exposure of an app, full", exposure)
    assert exposure <= 1.1


@pytest.mark.parametrize("room", ["data", "media", "cache", "shared"])
def test_what_an_app_writes_it_cannot_run(host, room):
    program = f"""
import os, shutil, subprocess
path = '/srv/guestbook/{room}/program'
shutil.copy('/bin/true', path)
os.chmod(path, 0o755)
try:
    print(subprocess.run([path]).returncode)
except PermissionError as error:
    print('denied')
finally:
    os.unlink(path)
"""
    assert inside(host, "guestbook", program).strip() == "denied"


def test_an_app_sees_no_users_of_the_host(host):
    assert inside(host, "guestbook", "import os; print(os.stat('/srv').st_uid, os.stat('/home').st_uid)") == "0 0\n"
    assert inside(host, "guestbook", "import os; print(os.stat('/srv/guestbook/media').st_gid)") == "65534\n"
