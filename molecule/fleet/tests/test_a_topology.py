"""What a visitor meets behind a balancer, and who reaches whom."""

from __future__ import annotations

import json
import re
import socket
import ssl
import time

import pytest
from fleet import (
    ADDRESS,
    APP1,
    APP2,
    BALANCER,
    DATA,
    DOMAIN,
    HOSTS,
    all_in,
    browser,
    host_of,
    on,
    out,
    run,
    served_by,
    visitors,
)
from shared.outside import PROVE, within


def test_both_hosts_answer(authority):
    all_in()
    visitor = browser(authority)
    assert {served_by(visitor) for _ in range(12)} == set(HOSTS)


def test_a_visit_goes_on_at_another_host(authority):
    """The session, the CSRF token of a form and what was written are the fleet's, not a host's."""
    visitor, hosts = browser(authority), set()
    for number in range(8):
        message = f"{number} of a visit at {time.time()}"
        assert visitor.submit("/", {"name": "tester", "message": message}).status == 302
        page = visitor.text("/")
        assert message in page
        hosts.add(host_of(page))
    assert hosts == set(HOSTS)


def logged(host: str, request: str) -> list[dict]:
    lines = on(host, "grep", "-h", request, "/var/log/nginx/access.log", check=False).splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("spoofed", [{}, {"X-Forwarded-For": "192.0.2.66", "X-Real-IP": "192.0.2.66"}])
def test_the_clients_address_and_the_id_of_a_request_reach_all_tiers(authority, spoofed):
    visitor, seen = browser(authority), set()
    for _ in range(12):
        answer = visitor.get("/", headers={"X-Request-ID": "f" * 32, **spoofed})
        request = answer.headers["X-Request-ID"]
        assert request != "f" * 32, "a visitor's own id is believed"
        (edge,) = within_lines(BALANCER, request)
        client = edge["remote_addr"]
        assert client == "10.217.64.1", "the controller's address on the network of the hosts"
        (host,) = [name for name in HOSTS if logged(name, request)]
        (inner,) = logged(host, request)
        assert (inner["remote_addr"], inner["scheme"]) == (client, "https")
        assert on(host, "journalctl", "-u", "django-guestbook", "--since=-60s", f"--grep={request}"), "the app's log"
        seen.add(host)
    assert seen == set(HOSTS)


def within_lines(host: str, request: str) -> list[dict]:
    within(lambda: logged(host, request), 5, "the request is logged")
    return logged(host, request)


def reaches(source: str, host: str, port: int) -> bool:
    """Whether a host of the fleet, or the world, gets a connection."""
    if source == "world":
        with socket.socket() as client:
            client.settimeout(2)
            return client.connect_ex((ADDRESS[host], port)) == 0
    words = f"import socket; s = socket.socket(); s.settimeout(2); print(s.connect_ex(('{ADDRESS[host]}', {port})))"
    return on(source, "python3", "-c", words).strip() == "0"


@pytest.mark.parametrize(
    ("source", "host", "port", "wanted"),
    [
        ("world", BALANCER, 443, True),
        ("world", BALANCER, 80, True),
        ("world", APP1, 443, False),
        ("world", APP2, 80, False),
        ("world", DATA, 5432, False),
        (BALANCER, APP2, 443, True),
        (BALANCER, DATA, 5432, False),
        (BALANCER, DATA, 6379, False),
        (DATA, APP1, 443, False),
        (APP1, APP2, 443, True),  # what the fleet serves
        (APP1, DATA, 5432, True),
        (APP2, DATA, 6379, True),
    ],
)
def test_who_reaches_whom(source, host, port, wanted):
    assert reaches(source, host, port) is wanted


def test_who_has_the_databases_password_enters_by_tls_alone():
    """And believes the server for the certificate that it shows, not for its address."""
    secret = dict(line.split("=", 1) for line in on(APP1, "cat", "/etc/djangofleet/guestbook/secret").splitlines())
    logins = "select rolname from pg_roles where rolcanlogin and starts_with(rolname, 'guestbook_')"
    login = on(DATA, "psql", "-U", "postgres", "-qtA", "-c", logins).strip()

    def connect(query: str) -> str:
        url = f"host={ADDRESS[DATA]} user={login} dbname=guestbook connect_timeout=3 {query}"
        words = f"env PGPASSWORD={secret['DATABASE_PASSWORD']} psql -w -qtA -d '{url}' -c 'select 1' 2>&1"
        return on(APP1, "sh", "-c", words, check=False)

    assert connect(f"sslmode=verify-full sslrootcert=/etc/ssl/djangofleet/{DATA}.pem").strip() == "1"
    assert "no encryption" in connect("sslmode=disable")
    stranger = "sslmode=verify-full sslrootcert=/etc/ssl/certs/ca-certificates.crt"
    assert "certificate verify failed" in connect(stranger)


def test_what_the_fleet_serves_is_for_its_hosts_alone(authority):
    path = "/.well-known/djangofleet/serving"
    assert browser(authority).get(path).status in (403, 404)
    words = f"curl -sk --resolve {DOMAIN}:443:{ADDRESS[APP2]} https://{DOMAIN}{path}"
    assert "release" in json.loads(on(APP1, "sh", "-c", words))


def test_the_tiers_show_each_other_what_the_environments_authority_signs(authority):
    """The world sees the site's own certificate; the app hosts have one of the same authority, for the balancer."""
    for host in HOSTS:
        words = f"echo | openssl s_client -connect {ADDRESS[host]}:443 -servername {DOMAIN} -verify_return_error"
        said = on(BALANCER, "sh", "-c", f"{words} -CAfile /etc/djangofleet/authority/ca.pem 2>&1", check=False)
        assert "Verify return code: 0 (ok)" in said, said
    context = ssl.create_default_context(cafile=authority)
    plain = socket.create_connection((ADDRESS[BALANCER], 443), 5)
    with context.wrap_socket(plain, server_hostname=DOMAIN) as tls:
        assert ("DNS", DOMAIN) in tls.getpeercert()["subjectAltName"]


def test_a_host_that_shows_another_certificate_gets_no_request(authority):
    pair = "/etc/djangofleet/certificates/guestbook"
    make = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={DOMAIN} -addext subjectAltName=DNS:{DOMAIN}"
    on(APP2, "sh", "-c", f"cp -a {pair} {pair}.kept && {make} -keyout {pair}/privkey.pem -out {pair}/fullchain.pem")
    try:
        with visitors(authority) as seen:
            on(APP2, "systemctl", "reload", "nginx")
            within(lambda: "certificate" in out().get(APP2, ""), 10, "the balancer knows why")
            assert {served_by(browser(authority)) for _ in range(8)} == {APP1}
        assert seen["failed"] == 0, seen["examples"]
    finally:
        on(APP2, "sh", "-c", f"rm -r {pair} && mv {pair}.kept {pair} && systemctl reload nginx")
    all_in()


@pytest.mark.skipif(not PROVE, reason="a run more")
def test_check_mode_has_nothing_to_say():
    assert set(re.findall(r"changed=(\d+)", run("site.yml", "--check"))) == {"0"}
