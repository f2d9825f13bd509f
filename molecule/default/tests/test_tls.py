"""TLS and what is refused before Django hears of it."""

import socket
import ssl

import pytest
import urllib3
from shared.outside import ROOT


def handshake(address, server_name, authority, **limits):
    context = ssl.create_default_context(cafile=authority)
    for key, value in limits.items():
        setattr(context, key, value)
    plain = socket.create_connection((address, 443), timeout=10)
    with plain, context.wrap_socket(plain, server_hostname=server_name) as tls:
        return tls.version(), tls.getpeercert()


@pytest.mark.parametrize("domain", ["guestbook.test", "www.guestbook.test"])
def test_http_redirects_to_https(browse, domain):
    answer = browse(domain).get("/about/?a=b", scheme="http")
    assert (answer.status, answer.headers["Location"]) == (301, f"https://{domain}/about/?a=b")


@pytest.mark.parametrize("domain", ["guestbook.test", "www.guestbook.test"])
def test_certificate_chains_and_names_match(address, authority, domain):
    version, certificate = handshake(address, domain, authority)
    assert version == "TLSv1.3"
    names = {value for kind, value in certificate["subjectAltName"] if kind == "DNS"}
    assert names == {"guestbook.test", "www.guestbook.test"}


def test_certificate_of_the_user_is_served(address):
    _version, certificate = handshake(address, "second.test", f"{ROOT}/build/default/second.pem")
    assert ("DNS", "second.test") in certificate["subjectAltName"]


def test_certificate_is_not_trusted_by_itself(address):
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(address, "guestbook.test", None)


def test_old_tls_is_refused(address, authority):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(address, "guestbook.test", authority, maximum_version=ssl.TLSVersion.TLSv1_1)


def test_tls_1_2_is_served(address, authority):
    assert handshake(address, "guestbook.test", authority, maximum_version=ssl.TLSVersion.TLSv1_2)[0] == "TLSv1.2"


def test_unknown_host_is_refused_over_https(address, authority):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(address, "stranger.test", authority)


def test_unknown_host_is_refused_over_http(browse):
    with pytest.raises(urllib3.exceptions.ProtocolError):
        browse("stranger.test").get("/", scheme="http")


def test_known_name_does_not_open_another_host(browse):
    """A handshake for one site must not lead to another one's pages."""
    answer = browse("guestbook.test").get("/", headers={"Host": "stranger.test"})
    assert answer.status == 421


def test_hsts_is_sent_over_https_only(browse):
    browser = browse("guestbook.test")
    assert browser.get("/").headers["Strict-Transport-Security"] == "max-age=3600"
    assert "Strict-Transport-Security" not in browser.get("/", scheme="http").headers


def test_private_keys_are_for_root_alone(host):
    keys = host.check_output("find /etc/djangofleet -name '*.key' -o -name 'privkey.pem' -o -name '*key*.pem'").split()
    assert keys
    for key in keys:
        assert (host.file(key).mode, host.file(key).user) == (0o600, "root"), key
