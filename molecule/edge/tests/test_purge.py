"""One run of a playbook empties the caches of all hosts."""

from __future__ import annotations

import re

import pytest
import testinfra
from shared.outside import PROVE, hosts_of, play

testinfra_hosts = hosts_of("edge")[:1]  # a run is about all of them
PURGE, OF_ONE = "playbooks/purge.yml", ("-e", "app=feed")


def cached(path: str) -> list[str]:
    """What the cache of each host had to do with a page."""
    asking = f"curl -sk -o /dev/null -D - --resolve feed.test:443:127.0.0.1 https://feed.test{path}"
    heads = [testinfra.get_host(f"docker://{name}").check_output(asking) for name in hosts_of("edge")]
    return [re.search(r"(?im)^x-cache: (\w+)", head)[1] for head in heads]


# The first, which the gate takes, is of all apps, one of which has no cache. test_cache.py has djangoctl do the others.
WAYS = [["-e", "all=true"], [*OF_ONE, "-e", "url=/news/a/"], [*OF_ONE, "-e", "prefix=/news/"]]


@pytest.mark.parametrize("words", WAYS if PROVE else WAYS[:1])
def test_a_playbook_purges_on_all_hosts(words):
    cached("/news/a/"), cached("/")
    assert set(cached("/news/a/") + cached("/")) == {"HIT"}
    checked = play("edge", PURGE, *words, "--check")
    assert (checked.returncode, set(cached("/news/a/"))) == (0, {"HIT"}), checked.stdout
    result = play("edge", PURGE, *words)
    assert result.returncode == 0, result.stdout
    assert len(re.findall(r"changed=1 ", result.stdout)) == len(hosts_of("edge"))
    assert set(cached("/news/a/")) == {"MISS"}
    assert set(cached("/")) == ({"MISS"} if "all=true" in words else {"HIT"})


def test_a_run_that_names_nothing_changes_nothing():
    cached("/")
    result = play("edge", PURGE, *OF_ONE)
    assert result.returncode != 0
    assert "give one of -e url=" in result.stdout
    assert set(cached("/")) == {"HIT"}
