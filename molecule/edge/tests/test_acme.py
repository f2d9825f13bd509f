"""Certificates of a real ACME authority: Debian's pebble on the client host, with its nonce rejection on."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import testinfra
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from shared.outside import Browser, hosts_of, play, visiting, within

CLIENT = "djangofleet-edge-client"
testinfra_hosts = [f"docker://{name}" for name in hosts_of("edge", gate=13)]

CERTIFICATES = "/etc/djangofleet/certificates"
CLOCK = "/run/systemd/system/djangofleet-acme.service.d/clock.conf"
# systemd's own programs do not run by a clock that is moved: their timers are the kernel's.
UNMOVED = "/usr/local/bin/systemd-run"
LIBRARY = "$(find /usr/lib -name libfaketime.so.1)"


@pytest.fixture(scope="module")
def client() -> Any:
    return testinfra.get_host(f"docker://{CLIENT}")


@pytest.fixture(scope="module")
def root(client, tmp_path_factory) -> str:
    """What visitors believe: the root of the authority."""
    path = tmp_path_factory.mktemp("pebble") / "root.pem"
    path.write_text(client.check_output("curl -ks https://localhost:15000/roots/0"))
    return str(path)


@pytest.fixture
def served(address):
    """served(domain) -> the certificate that a visitor gets."""

    def get(domain: str) -> x509.Certificate:
        context = ssl._create_unverified_context()  # noqa: S323
        plain = socket.create_connection((address, 443), timeout=10)
        with plain, context.wrap_socket(plain, server_hostname=domain) as tls:
            return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))

    return get


def names_of(certificate: x509.Certificate) -> list[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return sorted(found.value.get_values_for_type(x509.DNSName))


def converge(name: str, items: list[dict[str, Any]], *words: str) -> Any:
    """A run with other certificates; without words of the roles that are about them alone."""
    words = words or ("playbooks/components/certificate.yml", "playbooks/acme.yml")
    return play("edge", *words, f"--limit={name}", "-e", json.dumps({"edge_acme_certificates": items}))


def said(run: Any) -> str:
    """What a run printed, however Ansible has broken its lines."""
    return " ".join(run.stdout.split())


def usual(name: str, **more: Any) -> dict[str, Any]:
    return {"name": "acme", "source": "acme", "domains": [f"{name}.test"], **more}


@contextmanager
def away(client) -> Iterator[None]:
    """The authority refuses connections meanwhile. Pebble that is started anew would be another authority."""
    client.check_output(
        "nft 'table inet away { chain in { type filter hook input priority 0;"
        " tcp dport 14000 reject with tcp reset; }; }'"
    )
    try:
        yield
    finally:
        client.check_output("nft delete table inet away")


def test_the_site_has_a_certificate_of_the_authority(host, name, served, root, address):
    assert Browser(address, f"{name}.test", root).get("/").status == 200
    assert names_of(served(f"{name}.test")) == [f"{name}.test"]
    modes = host.check_output(f"stat -c '%a:%U:%G' {CERTIFICATES}/acme/privkey.pem {CERTIFICATES}/acme/fullchain.pem")
    assert modes.split() == ["600:root:root", "644:root:root"]
    assert host.check_output("systemctl is-enabled djangofleet-acme.timer") == "enabled"
    assert json.loads(host.check_output("djangofleet-acme status --json"))["problems"] == []


def test_names_and_a_wildcard_are_added_at_once_and_no_visitor_notices(name, served, root, address, figure):
    """Another list of names, another kind of key, and a wildcard by DNS. The second run changes nothing."""
    names = [f"{name}.test", f"www.{name}.test", f"*.wild.{name}.test"]
    dns = {"auth_hook": "/usr/local/bin/record set", "cleanup_hook": "/usr/local/bin/record clear"}
    items = [usual(name, domains=names, key_type="rsa", challenge="dns", dns=dns)]
    before = served(f"{name}.test").serial_number
    with visiting(address, f"{name}.test", root, "--fresh", "--connections=4", "--pause=0.02") as seen:
        began = time.monotonic()
        run = converge(name, items)
        took = time.monotonic() - began
    assert run.returncode == 0, run.stdout + run.stderr
    assert seen["failed"] == 0, seen
    assert seen["requests"] > 20
    assert took < 60
    figure("seconds of a run that issues", took)
    found = served(f"www.{name}.test")
    assert found.serial_number != before
    assert names_of(found) == sorted(names)
    assert isinstance(found.public_key(), rsa.RSAPublicKey)
    assert Browser(address, f"shop.wild.{name}.test", root).get("/").status == 200
    again = converge(name, items)
    assert "changed=0" in again.stdout, again.stdout


def test_renewal_fires_61_days_on(host, name, served, root, address, figure):
    """The clock of the service moves by libfaketime: after 59 of 90 days nothing is due, after 61 it is."""
    host.check_output("command -v faketime || { apt-get update -q; apt-get install -y -q faketime; } >/dev/null")
    words = r"#!/bin/sh\nexec env -u LD_PRELOAD /usr/bin/systemd-run \"\$@\"\n"
    host.check_output(f'printf "{words}" >{UNMOVED}; chmod 755 {UNMOVED}')
    first = served(f"{name}.test").serial_number

    def start(days: int) -> None:
        setting = f"Environment=LD_PRELOAD={LIBRARY} FAKETIME=+{days}d"
        host.check_output(f'mkdir -p $(dirname {CLOCK}); printf "[Service]\\n%s\\n" "{setting}" >{CLOCK}')
        host.check_output("systemctl daemon-reload; systemctl start djangofleet-acme.service")

    turned: list[float] = []

    def watch() -> None:
        within(lambda: served(f"{name}.test").serial_number != first, 90, "another certificate is served")
        turned.append(time.time())

    try:
        start(59)
        assert served(f"{name}.test").serial_number == first
        watcher = threading.Thread(target=watch)
        with visiting(address, f"{name}.test", root, "--fresh", "--connections=4", "--pause=0.02") as seen:
            watcher.start()
            start(61)
            watcher.join()
    finally:
        host.check_output(f"rm -f {CLOCK} {UNMOVED}; systemctl daemon-reload")
    assert seen["failed"] == 0, seen
    newest = "$(readlink -f /var/lib/djangofleet/acme/certbot/live/acme/fullchain.pem)"
    lag = turned[0] - float(host.check_output(f"stat -c %.3Y {newest}"))
    assert lag < 10
    figure("seconds from a renewal to the new serial", lag)


def test_an_authority_that_is_away_takes_no_site_down(host, name, client, served, root, address):
    first = served(f"{name}.test").serial_number
    with away(client):
        # One that has a valid certificate is warned, and the run goes on.
        run = converge(name, [usual(name)], "site.yml", "--tags=web")
        assert run.returncode == 0, run.stdout + run.stderr
        assert f"the authority https://{CLIENT}:14000/dir cannot be reached" in said(run)
        assert host.run("systemctl start djangofleet-acme.service").rc != 0
        assert host.run("systemctl is-failed djangofleet-acme.service").stdout.strip() == "failed"
        found = json.loads(host.run("djangofleet-acme status --json").stdout)
        assert "cannot be reached" in found["problems"][0]["problem"]
        assert served(f"{name}.test").serial_number == first
        assert Browser(address, f"{name}.test", root).get("/").status == 200
    # The timer's service makes up for what could not be had.
    host.check_output("systemctl start djangofleet-acme.service")
    within(lambda: names_of(served(f"{name}.test")) == [f"{name}.test"], 10, "it is served")


def test_a_closed_way_in_is_refused_before_the_authority_is_asked(host, name, client, served):
    lost, away = f"lost.{name}.test", f"away.{name}.test"
    items = [usual(name), {"name": "lost", "source": "acme", "domains": [lost, away]}]
    host.check_output(f"echo 127.0.0.2 {away} >>/etc/hosts")
    run = converge(name, items, "site.yml", "--tags=web")
    assert run.returncode != 0
    assert f"certificate_certificates[lost]: {lost}: has no address; add a record to the DNS" in said(run)
    assert f"{away}: 127.0.0.2 port 80" in said(run)  # where no site has that name
    assert lost not in client.check_output("journalctl -u pebble --no-pager")
    # The run has brought all the rest: the host's own certificate lies there, and the other site is served.
    assert host.file(f"{CERTIFICATES}/lost/fullchain.pem").exists
    assert names_of(served(f"{name}.test")) == [f"{name}.test"]
    run = converge(name, [usual(name)])
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads(host.check_output("djangofleet-acme status --json"))["problems"] == []
