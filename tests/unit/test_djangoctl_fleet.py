"""What the hosts of an app serve: what each tells, what it takes from the others, and what follows from it."""

from __future__ import annotations

import datetime
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import FLEET
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from djangoctl import fleet, lock
from djangoctl import release as releases
from djangoctl.fleet import Claim, Record, Verdict, decide
from peers import Peers, other_hosts

COMMIT = "a" * 40
REPOSITORY = "https://git.example.com/shop.git"
EARLY, LATE = "2026-01-01T10:00:00.500000", "2026-01-02T10:00:00.500000"
TOLD = {"release": "v2-1", "rollout": LATE, "activated_at": "2026-01-02T10:05:00Z"}


def record(release: str, rollout: str = EARLY, activated_at: str = "2026-01-01T10:05:00Z", **source: str) -> Record:
    return Record(release, rollout, activated_at, source)


# What a host may say


@pytest.mark.parametrize(
    "content",
    [
        TOLD,
        TOLD | {"rollout": "2026-01-02T10:00:00Z"},
        TOLD | {"rollout": "2026-01-02T12:00:00+02:00"},
        TOLD | {"further": ["later", "versions"]},
        TOLD | {"source": {}},
        TOLD | {"source": {"git": REPOSITORY, "revision": COMMIT}},
    ],
)
def test_a_record_is_read(content):
    found = fleet.parsed(content)
    assert (found.release, found.rollout, found.source) == ("v2-1", content["rollout"], content.get("source", {}))


def ahead(**more: float) -> str:
    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(**more)).isoformat()


@pytest.mark.parametrize(
    "content",
    [
        *([], "x", 5, None, {}),
        *({key: value for key, value in TOLD.items() if key != left} for left in TOLD),
        *(TOLD | {key: value} for key in TOLD for value in (5, None, [], {}, "", True)),
        *(TOLD | {"release": text} for text in ("../../etc", "a/b", "-rf", ".", "x" * 101, "v1\n", "v1 ", "ü")),
        *(TOLD | {key: "soon"} for key in ("rollout", "activated_at")),
        *(TOLD | {key: ahead(days=2)} for key in ("rollout", "activated_at")),
        *(TOLD | {key: "9999-12-31T23:59:59-23:59"} for key in ("rollout", "activated_at")),
        TOLD | {"rollout": "0001-01-01T00:00:00+23:59"},
        *(TOLD | {"source": value} for value in ([], "x", None, {"git": 5}, {"revision": None})),
    ],
)
def test_what_is_no_record_is_refused(content):
    with pytest.raises(ValueError, match=r"\w"):
        fleet.parsed(content)


def test_a_clock_may_be_ahead_a_little():
    assert fleet.parsed(TOLD | {"rollout": ahead(hours=23)})


def test_times_are_compared_as_times():
    """That of a rollback has no fraction of a second, and another end."""
    texts = ["2026-01-02T10:00:00Z", "2026-01-02T10:00:00.000001", "2026-01-02T10:00:01Z", "2026-01-02T11:00:02+01:00"]
    assert sorted(texts, key=fleet.moment) == texts


# What follows from it

OLD, NEW, NEWEST = record("v1-1"), record("v2-1", LATE), record("v3-1", "2026-01-03T10:00:00Z")
SAME_ROLLOUT = record("v1-1", LATE, "2026-01-02T10:07:00Z")


@pytest.mark.parametrize(
    ("mine", "others", "here", "buildable", "action", "served"),
    [
        # Nobody answers: all hosts may have lost power.
        (OLD, [], True, True, fleet.ALONE, OLD),
        # The same release, whoever went live on it first
        (OLD, [OLD], True, True, fleet.SERVES, OLD),
        (record("v1-1", EARLY), [record("v1-1", LATE)], False, False, fleet.SERVES, record("v1-1", LATE)),
        (record("v1-1", LATE), [record("v1-1", EARLY)], False, False, fleet.SERVES, record("v1-1", LATE)),
        # This host has what was chosen last.
        (NEW, [OLD, OLD], True, True, fleet.SERVES, NEW),
        (NEW, [record("v3-1", LATE, NEW.activated_at)], True, True, fleet.SERVES, NEW),
        # It has missed one: from its disk, from its source, or by a deploy
        (OLD, [NEW], True, True, fleet.ACTIVATE, NEW),
        (OLD, [NEW], True, False, fleet.ACTIVATE, NEW),
        (OLD, [NEW], False, True, fleet.BUILD, NEW),
        (OLD, [NEW], False, False, fleet.BEHIND, NEW),
        # Of several, the one that was chosen last: others are behind, or a rollout is under way.
        (OLD, [OLD, NEW, OLD], True, False, fleet.ACTIVATE, NEW),
        (OLD, [NEW, NEWEST], True, False, fleet.ACTIVATE, NEWEST),
        (OLD, [record("v9-1"), NEW], True, False, fleet.ACTIVATE, NEW),  # v9 was taken back
        # A rollout that failed half way was returned where it could be: what was chosen last is what they returned to.
        (NEW, [SAME_ROLLOUT], True, False, fleet.ACTIVATE, SAME_ROLLOUT),
        (SAME_ROLLOUT, [NEW], True, False, fleet.SERVES, SAME_ROLLOUT),
        # Nothing was ever live here: such a host is for a deploy.
        (None, [], True, True, fleet.BEHIND, None),
        (None, [NEW], True, True, fleet.BEHIND, NEW),
    ],
)  # fmt: skip
def test_what_a_host_does(mine, others, here, buildable, action, served):
    asked = []

    def is_here(identity: str) -> bool:
        asked.append(identity)
        return here

    verdict = decide(mine, others, is_here=is_here, is_buildable=lambda _record: buildable)
    assert verdict == Verdict(action, served)
    assert set(asked) <= {served.release if served else ""}, "no other release matters"
    assert decide(mine, others[::-1], is_here=is_here, is_buildable=lambda _record: buildable) == verdict


@pytest.fixture
def source(make_app):
    """`source(**changes)`: whether the release that a host with the same settings has of a commit is buildable."""
    app = make_app(fleet=FLEET | {"repository": REPOSITORY})

    def ask(*, identity: str = "", **changes: str) -> bool:
        known = {"git": REPOSITORY, "revision": COMMIT} | changes
        return fleet.is_buildable(app, record(identity or releases.identify(app, "v2", COMMIT), **known))

    return ask


def test_a_release_is_built_of_its_commit(source):
    assert source()


@pytest.mark.parametrize(
    "changes",
    [
        {"git": "ext::sh -c id"},  # git would run it, as root
        {"git": "https://git.example.com/other.git"},
        {"git": ""},
        {"revision": "b" * 40},
        {"revision": "main"},
        {"revision": "--upload-pack=id"},
        {"revision": f"{COMMIT}\n"},
        {"identity": "v2-12345678"},  # the hosts' settings differ
        {"identity": "v2"},
    ],
    ids=str,
)
def test_nothing_else_is_fetched_and_built(source, changes):
    assert not source(**changes)


def test_a_source_that_not_everybody_can_read_is_not_fetched(make_app):
    app = make_app(fleet=FLEET)
    told = record(releases.identify(app, "v2", COMMIT), git="", revision=COMMIT)
    assert not fleet.is_buildable(app, told)


# Asking


@pytest.fixture
def peers() -> Iterator[Peers]:
    with other_hosts() as found:
        yield found


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of the journal."""
    lines: list[str] = []
    monkeypatch.setattr(lock, "say", lines.append)
    monkeypatch.setattr(fleet, "PAUSE", 0.05)
    return lines


@pytest.fixture
def shop(make_app: Callable[..., Any], peers: Peers) -> Callable[..., Any]:
    """`shop("127.0.0.2", …)`: the app with other hosts at these addresses."""

    def make(*addresses: str, **settings: Any) -> Any:
        names = {f"app{number}": address for number, address in enumerate(addresses or ("127.0.0.2",), 2)}
        return make_app(fleet=FLEET | {"peers": names, "port": peers.port, **settings})

    return make


def test_another_host_is_asked_by_the_name_of_the_site(shop, peers, said):
    server = peers((200, TOLD))
    assert fleet.hear(shop(), 0) == {"app2": Record(**TOLD)}
    assert server.asked == [("/.well-known/djangofleet/serving", "shop.example.com")]
    assert said == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((404, TOLD), "it answers 404"),
        ((503, TOLD), "it answers 503"),
        ((301, TOLD), "it answers 301"),
        ((200, b"<html>"), "its answer is no record"),
        ((200, b""), "its answer is no record"),
        ((200, b"\xff\xfe"), "its answer is no record"),
        ((200, []), "its answer is no record: it is no mapping"),
        ((200, b"[" * 60_000), "its answer is no record"),
        ((200, b'{"release": ' + b"9" * 5000 + b"}"), "its answer is no record"),
        ((200, TOLD | {"release": "../../etc"}), "its answer is no record: release is no id"),
        ((200, TOLD | {"rollout": "3026-01-01T00:00:00Z"}), "its answer is no record: a time is none, or more than"),
        ((200, TOLD | {"x": "x" * 70_000}), "its answer is too long"),
        ((200, b"x" * 5_000_000), "its answer is too long"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_an_answer_that_is_no_record_does_not_count(shop, peers, said, answer, reason):
    peers(answer)
    found = fleet.hear(shop(), 0)
    assert found["app2"].startswith(reason)
    assert fleet.heard(found) == []
    assert said[0].startswith(f"shop: app2 does not count: {reason}")


def test_who_answers_too_slowly_does_not_count(shop, peers, said, monkeypatch):
    monkeypatch.setattr(fleet, "PATIENCE", 0.2)
    release = threading.Event()
    peers(lambda: (release.wait(5), (200, TOLD))[1])
    began = time.monotonic()
    assert fleet.hear(shop(), 0)["app2"].startswith("no answer")
    release.set()
    assert time.monotonic() - began < 3


def test_nobody_waits_for_a_resolver(shop, said, monkeypatch):
    monkeypatch.setattr(fleet, "PATIENCE", 0.1)
    hangs = threading.Event()

    def resolve(*_words, **_options):
        hangs.wait(5)
        raise OSError("nobody answers")

    monkeypatch.setattr(fleet.answer.socket, "create_connection", resolve)
    began = time.monotonic()
    assert fleet.hear(shop(), 0) == {"app2": "no answer: timed out"}
    hangs.set()
    assert time.monotonic() - began < 3


def test_all_are_asked_at_once_and_who_is_down_does_not_count(shop, peers, said):
    both = threading.Barrier(2, timeout=5)  # neither answers before both are asked
    peers(lambda: (both.wait(), (200, TOLD))[1])
    peers(lambda: (both.wait(), (200, TOLD | {"release": "v3-1"}))[1], "127.0.0.3")
    found = fleet.hear(shop("127.0.0.2", "127.0.0.3", "127.0.0.4"), 0)
    assert [record.release for record in fleet.heard(found)] == ["v2-1", "v3-1"]
    assert found["app4"].startswith("no answer: Connection refused")


def test_they_are_asked_until_one_answers_well(shop, peers, said):
    answers = iter([(503, {}), (200, b"<html>"), (200, TOLD)])
    server = peers(lambda: next(answers))
    assert fleet.heard(fleet.hear(shop(), 60)) == [Record(**TOLD)]
    assert len(server.asked) == 3


def test_they_are_asked_no_longer_than_is_waited(shop, peers, said):
    server = peers((503, {}))
    began = time.monotonic()
    assert fleet.heard(fleet.hear(shop(), 0.3)) == []
    assert 0.3 <= time.monotonic() - began < 3
    assert len(server.asked) > 1
    assert len(said) == 1, "it is told once"


def certificate(directory: Any, name: str) -> ssl.SSLContext:
    """A certificate for a name, which is its own authority: authority.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(Encoding.PEM)
    (directory / "pair.pem").write_bytes(pem)
    (directory / "authority.pem").write_bytes(made.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "pair.pem")
    return context


@pytest.mark.parametrize(
    ("name", "authority", "counts"),
    [
        ("shop.example.com", "authority.pem", True),
        ("other.example.com", "authority.pem", False),
        ("shop.example.com", "other/authority.pem", False),
        ("shop.example.com", "missing.pem", False),
    ],
)
def test_another_host_is_verified(shop, peers, said, tmp_path, name, authority, counts):
    (tmp_path / "other").mkdir()
    certificate(tmp_path / "other", "shop.example.com")
    context, names = certificate(tmp_path, name), []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    server = peers((200, TOLD), context=context)
    found = fleet.hear(shop(authority_file=str(tmp_path / authority)), 0)
    assert bool(fleet.heard(found)) is counts
    assert bool(server.asked) is counts
    assert names in ([], ["shop.example.com"])
    assert names or authority == "missing.pem"


# What a host tells


def live(app: Any, release: Any, **more: Any) -> None:
    """What an activation leaves."""
    releases.point(app.current, release.path)
    content = {"release": release.id, "activated_at": "2026-01-01T10:05:00Z", **more}
    (app.root / "live.json").write_text(json.dumps(content))


def told(app: Any) -> dict[str, Any]:
    return json.loads((app.root / "serving.json").read_text())


def test_a_rollout_is_told(make_app, make_release):
    app = make_app(fleet=FLEET)
    release = make_release(app, "v1-1")
    live(app, release)
    fleet.confirm(app, release, Claim(rollout=LATE))
    assert told(app) == {"release": "v1-1", "rollout": LATE, "activated_at": told(app)["activated_at"]}
    assert (app.root / "serving.json").stat().st_mode & 0o777 == 0o644
    assert fleet.own(app) == Record(**told(app))


@pytest.mark.parametrize("rollout", ["", "soon", "3026-01-01T00:00:00Z"])
def test_without_a_rollout_the_activation_counts(make_app, make_release, rollout):
    app = make_app(fleet=FLEET)
    release = make_release(app, "v1-1")
    before = releases.now()
    times = fleet.claimed(app, release, Claim(rollout=rollout))
    assert before <= times["rollout"] == times["activated_at"] <= releases.now()
    live(app, release)  # by an earlier djangoctl
    fleet.confirm(app, release, Claim(rollout=rollout))
    assert told(app)["rollout"] == told(app)["activated_at"] == "2026-01-01T10:05:00Z"


def test_a_restart_is_no_choice_of_a_release(make_app, make_release):
    """What was chosen on the other hosts meanwhile must not look older than what only starts anew here."""
    app = make_app(fleet=FLEET)
    release = make_release(app, "v1-1")
    live(app, release)
    fleet.confirm(app, release, Claim(rollout=EARLY))
    before = told(app)
    live(app, release, told=fleet.claimed(app, release, Claim(is_choice=False)), activated_at=releases.now())
    fleet.confirm(app, release, Claim(is_choice=False))
    assert told(app) == before
    fleet.confirm(app, release, Claim(rollout=LATE))
    assert told(app)["rollout"] == LATE


@pytest.mark.parametrize(
    ("repository", "revision", "source"),
    [
        (REPOSITORY, COMMIT, {"git": REPOSITORY, "revision": COMMIT}),
        ("", COMMIT, None),
        (REPOSITORY, "b" * 64, None),  # the digest of a directory
        (REPOSITORY, "", None),
    ],
)
def test_the_source_is_told_where_anybody_can_read_it(make_app, make_release, repository, revision, source):
    app = make_app(fleet=FLEET | {"repository": repository})
    release = make_release(app, "v1-1", revision=revision)
    live(app, release)
    fleet.confirm(app, release, Claim())
    assert told(app).get("source") == source


SINCE = {"rollout": EARLY, "activated_at": "2026-01-01T10:07:00Z"}


@pytest.mark.parametrize(
    ("activated", "serving", "found"),
    [
        # As it should be; what Nginx shows does not matter
        *(({"release": "v1-1", "activated_at": LATE, "told": SINCE}, shown, Record("v1-1", **SINCE))
          for shown in ({"release": "v1-1", **SINCE}, None, "{", TOLD)),
        # By an earlier djangoctl, and with damages
        ({"release": "v1-1", "activated_at": EARLY}, None, Record("v1-1", EARLY, EARLY)),
        ({"release": "v1-1", "activated_at": "soon"}, None, Record("v1-1", fleet.NEVER, fleet.NEVER)),
        ({"release": "v1-1", "told": {"rollout": 5}}, None, Record("v1-1", fleet.NEVER, fleet.NEVER)),
        ({"release": "v1-1", "activated_at": EARLY, "told": "x"}, None, Record("v1-1", EARLY, EARLY)),
        # Of a clock that was wrong
        ({"release": "v1-1", "told": {"rollout": "3026-01-01", "activated_at": EARLY}}, None,
         Record("v1-1", fleet.NEVER, EARLY)),
        # An activation broke off before the service had started
        ({"release": "v0-1", "told": SINCE}, {"release": "v0-1", **SINCE}, Record("v1-1", EARLY, EARLY)),
        ({"release": "v0-1", "told": SINCE}, {"release": "v0-1", "rollout": "3026-01-01", "activated_at": EARLY},
         Record("v1-1", fleet.NEVER, fleet.NEVER)),
        # One that took a rollout back
        ({"release": "v3-1", "told": TOLD}, {"release": "v1-1", **SINCE}, Record("v1-1", **SINCE)),
        ({}, None, Record("v1-1", fleet.NEVER, fleet.NEVER)),
    ],
)  # fmt: skip
def test_what_a_host_serves_itself(make_app, make_release, activated, serving, found):
    app = make_app(fleet=FLEET)
    make_release(app, "v1-1", live=True)
    (app.root / "live.json").write_text(json.dumps(activated))
    if serving is not None:
        (app.root / "serving.json").write_text(serving if isinstance(serving, str) else json.dumps(serving))
    assert fleet.own(app) == found


def test_a_host_on_which_nothing_was_live_serves_nothing(make_app):
    app = make_app(fleet=FLEET)
    (app.root / "serving.json").write_text(json.dumps(TOLD))
    assert fleet.own(app) is None


# The mark


def test_a_host_of_several_is_marked(make_app):
    app = make_app(fleet=FLEET)
    assert not fleet.is_ready(app)
    fleet.set_ready(app)
    assert fleet.is_ready(app)
    assert fleet.ready_file(app) == lock.RUN / "ready/shop"
    assert fleet.ready_file(app).stat().st_mode & 0o777 == 0o644
    assert fleet.ready_file(app).parent.stat().st_mode & 0o777 == 0o755


def test_an_app_on_one_host_needs_no_mark(make_app):
    app = make_app()
    fleet.set_ready(app)
    assert fleet.is_ready(app)
    assert not fleet.ready_file(app).exists()
