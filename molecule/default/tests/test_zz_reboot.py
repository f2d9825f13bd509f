"""Last, since nothing of the state before survives it: the host goes down and comes back."""

import time

import docker
from shared.outside import Browser, address_of


def test_reboot_brings_the_site_back(host, name, authority):
    host.check_output("sync")
    docker.from_env().containers.get(name).restart(timeout=60)
    browser = Browser(address_of(name), "guestbook.test", authority)
    deadline, last = time.monotonic() + 60, None
    while time.monotonic() < deadline:
        try:
            last = browser.get("/healthz").status
        except Exception as error:
            last = error
        if last == 200:
            break
        time.sleep(0.5)
    assert last == 200
    assert host.check_output("systemctl list-units --state=failed --plain --no-legend") == ""
    for unit in ("nginx.service", "django-guestbook.socket", "django-guestbook.service", "nftables.service"):
        assert host.run(f"systemctl is-active {unit}").rc == 0, unit
