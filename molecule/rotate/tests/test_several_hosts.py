"""One app on two hosts: both have the same secrets, before a rotation, after it, and where they have to in between.

Its inventory names one app of its own, so that those of test_rotate.py are gone afterwards.
"""

from __future__ import annotations

import json
import re
import shutil

import pytest
import yaml
from rotating import SECRETS, Site
from shared.outside import PROVE, ROOT, Browser, address_of

pytestmark = pytest.mark.skipif(not PROVE, reason="takes a while, and both distributions")
PAIR = ("djangofleet-rotate-13", "djangofleet-rotate-12")


@pytest.fixture(scope="module")
def sites(tmp_path_factory) -> list[Site]:
    addresses = json.dumps({"addresses": {name: address_of(name) for name in PAIR}})
    inventory = (f"--inventory={ROOT / 'molecule/rotate/pair'}", f"--extra-vars={addresses}")
    authority = tmp_path_factory.mktemp("authority") / "ca.pem"
    found = [Site(name, str(authority), inventory) for name in PAIR]
    found[0].play("site", allow_database_restart=True)  # it has listened to nobody elsewhere
    authority.write_text(found[0].on("cat", "/etc/djangofleet/authority/ca.pem").stdout)
    return found


def same(sites: list[Site]) -> dict[str, str]:
    """The secrets of the app, which both hosts have."""
    first, second = (site.secrets("pair") for site in sites)
    assert first == second
    return first


def test_both_hosts_get_the_new_ones_and_no_session_ends(sites):
    """A visitor comes to the one and to the other, as behind a balancer."""
    first, second = sites
    before, browser = same(sites), first.log_in("pair")
    other = Browser(address_of(second.name), "pair.test", second.authority, browser.cookies)
    with first.visitors("pair"), second.visitors("pair"), first.staying(browser, other):
        first.play("playbooks/rotate")
    after = same(sites)
    assert all(before[name] != after[name] for name in SECRETS)
    assert first.logins("pair") == [after["DATABASE_USER"]]


def test_a_host_that_was_left_out_keeps_what_it_has(sites):
    """The password before is valid for as long as a host may need it, and no host signs with a key that it lacks."""
    first, second = sites
    before, browser = same(sites), first.log_in("pair")
    other = Browser(address_of(second.name), "pair.test", second.authority, browser.cookies)
    with first.visitors("pair"), second.visitors("pair"), first.staying(browser, other):
        first.play("playbooks/rotate", f"--limit={first.name}")
        assert len(first.logins("pair")) == 2
        assert second.secrets("pair") == before
        assert first.secrets("pair")["SECRET_KEY"] == before["SECRET_KEY"]
        coming = first.environment("pair")["SECRET_KEY_FALLBACKS"].split(",")[0]
        first.play("playbooks/rotate", secret="secret_key")
    assert same(sites)["SECRET_KEY"] == coming
    assert len(first.logins("pair")) == 1


def test_a_rotation_without_the_server_makes_nothing(sites):
    first, second = sites
    before = same(sites)
    result = first.run("playbooks/rotate", f"--limit={second.name}")
    assert f"--limit: leaves out {first.name}, whose server has to know" in result.stdout.replace("\n", " ")
    assert "changed=0" in result.stdout
    assert same(sites) == before


def test_one_host_is_left_and_nobody_is_turned_away(sites, tmp_path):
    """The app comes to its server by the socket then. The way over the network stays open until it does."""
    first, second = sites
    path = tmp_path / "one"
    shutil.copytree(ROOT / "molecule/rotate/pair", path)
    hosts = yaml.safe_load((path / "hosts.yml").read_text())
    for group in (hosts["all"], *hosts["all"]["children"].values()):
        group["hosts"].pop(second.name, None)
    (path / "hosts.yml").write_text(yaml.safe_dump(hosts))
    given = path / "group_vars/all.yml"
    given.write_text(given.read_text().replace("{{ inventory_dir }}/../../..", str(ROOT)))
    alone = Site(first.name, first.authority, (f"--inventory={path}", *first.inventory[1:]))
    hba = ("sh", "-c", "cat /etc/postgresql/*/main/pg_hba.conf")
    assert "hostssl" in alone.on(*hba).stdout
    with alone.visitors("pair"):
        alone.play("site")
    assert "host=/run/postgresql" in alone.environment("pair")["DATABASE_URL"]
    assert "hostssl" not in alone.on(*hba).stdout
    assert re.search(rf"{alone.name} +: ok=\d+ +changed=0 ", alone.play("site"))
