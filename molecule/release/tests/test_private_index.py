"""A requirement that only a private index has, behind a certificate that only a private authority vouches for."""

import fleet

BUNDLE = "/etc/ssl/heirloom-bundle.pem"
SETTINGS = "/etc/djangofleet/guestbook/build.env"


def test_private_index_with_a_bundle():
    """The first deploy of `patient` has found the requirement: its application does not start without."""
    assert set(fleet.both(lambda host: fleet.version(host, "patient")).values()) == {"heirloom"}


def test_private_index_is_not_trusted_without_the_bundle():
    host = fleet.HOSTS[0]
    settings = fleet.on(host, "cat", SETTINGS).stdout
    assert BUNDLE in settings
    try:
        fleet.on(host, "tee", SETTINGS, stdin=settings.replace(BUNDLE, "/etc/ssl/certs/ca-certificates.crt"))
        refused = fleet.build(host, "heirloom", code=4)
    finally:
        fleet.on(host, "tee", SETTINGS, stdin=settings)
    assert "certificate" in str(refused).lower(), refused
