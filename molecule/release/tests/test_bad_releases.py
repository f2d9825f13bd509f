"""Releases that cannot serve: each is refused with its cause named, the old one stays live, and a good one follows."""

import fleet
import pytest


@pytest.fixture(scope="module", autouse=True)
def visitors():
    fleet.both(lambda host: fleet.activate(host, "red"))
    with fleet.visitors():
        yield


def refused(code: int, act, *told: str) -> None:
    """Do something on each host that must end with that code, say these words and leave what serves as it is.

    :param act: act(host, code) -> what djangoctl answers.
    """

    def one(host: str) -> None:
        before = fleet.served(host)
        answer = act(host, code)
        said = " ".join(" ".join(str(part) for part in answer.values()).split())
        assert not [words for words in (*told, f"release {before} is still live") if words not in said], (
            f"{host}: {said}"
        )
        assert fleet.served(host) == before

    fleet.both(one)


def states(name: str) -> set[tuple[str, ...]]:
    """The states of a version's releases, host by host."""

    def one(host: str) -> tuple[str, ...]:
        kept = fleet.ctl(host, "guestbook", "releases")["releases"]
        return tuple(entry["state"] for entry in kept if entry["version"] == name)

    return set(fleet.both(one).values())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no-module", ["No module named 'a_module_nobody_has'", "nothing live was changed"]),
        ("no-package", ["django_apps[guestbook].requirements", "a-package-nobody-has"]),
    ],
)
def test_release_that_does_not_build(name, told):
    refused(4, lambda host, code: fleet.build(host, name, code=code), *told)
    assert states(name) == {("failed",)}


def test_release_that_does_not_migrate():
    told = ["a migration of release ill-", "the ledger does not add up"]
    refused(5, lambda host, code: fleet.ctl(host, "guestbook", "migrate", fleet.release(host, "ill"), code=code), *told)
    assert states("ill") == {("good",)}


@pytest.mark.parametrize(
    ("hangs", "told"),
    [
        (False, ["GET /healthz as guestbook.test", "no heart"]),
        (True, ["GET /healthz as guestbook.test: no answer within 15 s"]),
    ],
    ids=["500", "hangs"],
)
def test_release_that_is_not_healthy(hangs, told):
    for host in fleet.HOSTS:
        fleet.on(host, *(["touch"] if hangs else ["rm", "-f"]), f"{fleet.DATA}/hangs")

    def act(host: str, code: int) -> dict:
        return fleet.ctl(host, "guestbook", "activate", fleet.release(host, "ill"), code=code)

    refused(6, act, *told, "did not pass its gate")


def test_good_release_follows():
    fleet.both(lambda host: fleet.activate(host, "blue"))
