"""djangofleet-acme on the host: what it asks certbot for, the way in that it checks, and how a pair is put in place."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from djangofleet_acme import certbot, cli, core, deploy, install, probe
from test_role_certificate import STRANGER, Certificate, issue

REQUEST: dict[str, Any] = {
    "directory_url": "https://ca.test/dir",
    "domains": ["shop.test", "www.shop.test"],
    "key_type": "ecc",
    "key_size": 0,
    "challenge": "http",
    "dns": {},
    "profile": "",
}


def item(name: str = "shop", key_group: str = "", **request: Any) -> dict[str, Any]:
    return {"name": name, "key_group": key_group, "request": {**REQUEST, **request}}


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return {
        "certbot": "/opt/certbot",
        "link": str(tmp_path / "certbot"),
        "cli": "/etc/cli.ini",
        "state": str(tmp_path / "state"),
        "directory": str(tmp_path / "certificates"),
        "webroot": str(tmp_path / "www"),
        "email": "ops@example.com",
        "ca_bundle": "/etc/ca.pem",
        "reload_units": ["nginx.service"],
        "check": {"enabled": True, "address": "", "port": 80},
        "certificates": [item()],
    }


# --- what certbot is asked for ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "has", "lacks"),
    [
        ({}, "--cert-name shop --force-renewal --renew-with-new-domains", "--preferred-profile"),
        ({}, "--server https://ca.test/dir --domain shop.test --domain www.shop.test --key-type ecdsa", "--rsa-key"),
        ({}, "--authenticator webroot --webroot-path", "dns"),
        ({"key_type": "rsa", "key_size": 3072}, "--key-type rsa --rsa-key-size 3072", "--elliptic-curve"),
        ({"domains": ["192.0.2.1"], "profile": "shortlived"}, "--ip-address 192.0.2.1", "--domain "),
        ({"profile": "tlsserver"}, "--preferred-profile tlsserver", "--required-profile"),
        (
            {"challenge": "dns", "dns": {"plugin": "rfc2136", "credentials_file": "/c", "propagation_seconds": 5}},
            "--authenticator dns-rfc2136 --dns-rfc2136-credentials /c --dns-rfc2136-propagation-seconds 5",
            "webroot",
        ),
        ({"challenge": "dns", "dns": {"plugin": "route53", "credentials_file": "/c"}}, "dns-route53", "-credentials"),
        (
            {"challenge": "dns", "dns": {"auth_hook": "/a b", "cleanup_hook": "/c"}},
            "--preferred-challenges dns --manual-auth-hook /a b --manual-cleanup-hook /c",
            "webroot",
        ),
    ],
)
def test_what_certbot_is_asked_for(settings, request_, has, lacks):
    words = " ".join(certbot.issue_words(settings, item(**request_)))
    assert words.startswith("/opt/certbot certonly --config /etc/cli.ini --non-interactive ")
    assert has in words
    assert lacks not in words


def test_certbot_trusts_the_authoritys_own_authority(settings):
    assert certbot.environment(settings, item()) == {"REQUESTS_CA_BUNDLE": "/etc/ca.pem"}
    aws = item(challenge="dns", dns={"plugin": "route53", "credentials_file": "/c"})
    assert certbot.environment(settings, aws)["AWS_CONFIG_FILE"] == "/c"


def test_what_certbot_says_is_told_in_short():
    printed = """Saving debug log to /var/log/x
Requesting a certificate for shop.test
- - - - - - -
Certbot failed to authenticate some domains (authenticator: webroot).
  Detail: 192.0.2.1:   Connection refused

Ask for help or search for solutions at https://community.letsencrypt.org."""
    told = "Certbot failed to authenticate some domains (authenticator: webroot). Detail: 192.0.2.1: Connection refused"
    assert certbot.gist(printed) == told
    assert "said nothing" in certbot.gist("")


@pytest.mark.parametrize(
    ("answers", "asked", "fails"),
    [
        (["urn:ietf:params:acme:error:badNonce"], 2, False),
        (["badNonce", "JWS has an invalid anti-replay nonce: x"], 3, False),
        (["badNonce"] * 3, 3, True),
        (["urn:ietf:params:acme:error:rateLimited"], 1, True),
    ],
)
def test_a_forgotten_nonce_is_no_failure(settings, monkeypatch, answers, asked, fails):
    left, seen = list(answers), []

    def run(words: list[str], seconds: float, environment: Any) -> tuple[int, str]:
        seen.append(words[1])
        return (1, left.pop(0)) if left else (0, "")

    monkeypatch.setattr(certbot, "run", run)
    with pytest.raises(core.AcmeError, match=answers[-1]) if fails else nullcontext():
        certbot.issue(settings, item())
    assert seen == ["certonly"] * asked


def test_an_authority_that_is_away_is_told(settings, tmp_path):
    assert "correct certificate_acme_ca_bundle" in certbot.reach(settings, "https://127.0.0.1:1/dir")
    bundle = tmp_path / "ca.pem"
    bundle.write_text(STRANGER.pem)
    found = certbot.reach({**settings, "ca_bundle": str(bundle)}, "https://127.0.0.1:1/dir")
    assert found.startswith("https://127.0.0.1:1/dir cannot be reached (")


# --- the way in -------------------------------------------------------------------------------------------------------


class Pages(BaseHTTPRequestHandler):
    """Answers as the server's `answer` says."""

    def do_GET(self) -> None:
        status, headers, body = self.server.answer(self.path, self.headers["Host"])
        self.send_response(status)
        for line in headers:
            self.send_header(*line)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Nothing."""


@pytest.fixture
def server(settings) -> Iterator[Any]:
    """A web server that serves the directory of challenges; `answer` may be another one."""
    found = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    found.asked = []

    def serve(path: str, host: str) -> tuple[int, list, bytes]:
        found.asked.append((host, path))
        file = Path(settings["webroot"] + path)
        return (200, [], file.read_bytes()) if file.is_file() else (404, [], b"")

    found.answer = serve
    threading.Thread(target=found.serve_forever, daemon=True).start()
    settings["check"] |= {"address": "127.0.0.1", "port": found.server_address[1]}
    yield found
    found.shutdown()
    found.server_close()


def test_the_way_in_is_open(settings, server):
    assert probe.problems(item(), settings) == []
    assert [host for host, _path in server.asked] == ["shop.test", "www.shop.test"]
    assert list(Path(settings["webroot"], ".well-known/acme-challenge").iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, [], b""), "with status 404, so it is another server"),
        ((200, [], b"another"), "with another page, so it is another server"),
        ((500, [], b""), "with status 500"),
        ((301, [("Location", "/again")], b""), "redirects more than 10 times"),
        ((301, [("Location", "/\xfcber-uns")], b""), "cannot be asked"),
        ((301, [("Location", "http://[parked")], b""), "cannot be asked"),
        ((301, [("Location", "http://parked.test:99999/")], b""), "cannot be asked"),
    ],
)
def test_another_server_is_told(settings, server, answer, said):
    server.answer = lambda path, host: answer
    found = probe.problems(item(domains=["shop.test"]), settings)
    assert len(found) == 1
    assert found[0].startswith(f"shop.test: 127.0.0.1 port {settings['check']['port']} ")
    assert said in found[0]


def test_a_redirect_is_followed_as_authorities_do(settings, server):
    serve = server.answer
    server.answer = lambda path, host: (
        serve(path.removeprefix("/moved"), host)
        if path.startswith("/moved")
        else (302, [("Location", f"/moved{path}")], b"")
    )
    assert probe.problems(item(), settings) == []


def test_a_closed_port_and_an_unknown_name_are_told(settings):
    settings["check"] |= {"address": "127.0.0.1", "port": 1}
    assert "shop.test: 127.0.0.1 port 1 refuses connections" in probe.problems(item(), settings)[0]
    settings["check"] |= {"address": ""}
    found = probe.problems(item(domains=["nowhere.invalid"]), settings)
    assert found == ["nowhere.invalid: has no address; add a record to the DNS that leads to this host"]


def test_nothing_is_asked_where_it_makes_no_sense(settings):
    settings["check"] |= {"address": "127.0.0.1", "port": 1}
    assert probe.problems(item(challenge="dns"), settings) == []
    assert probe.problems(item(), {**settings, "check": {**settings["check"], "enabled": False}}) == []


# --- a pair is put in place -------------------------------------------------------------------------------------------


@pytest.fixture
def programs(monkeypatch) -> dict[str, Any]:
    """What systemctl and nginx are asked, and whether Nginx refuses what it would load."""
    found: dict[str, Any] = {"asked": [], "refuses": lambda: False, "running": True}

    def run(words: list[str], seconds: float, environment: Any = None) -> tuple[int, str]:
        found["asked"].append(" ".join(words))
        if "-t" in words:
            return (1, "nginx: [emerg] bad\n") if found["refuses"]() else (0, "")
        return (0, "") if found["running"] or words[1] != "is-active" else (3, "")

    monkeypatch.setattr(deploy, "run", run)
    monkeypatch.setattr(deploy.shutil, "which", lambda name: name and f"/usr/sbin/{name}")
    return found


def obtained(settings: dict[str, Any], certificate: Certificate, name: str = "shop") -> None:
    """What certbot leaves."""
    place = core.lineage(settings, name)
    place.mkdir(parents=True, exist_ok=True)
    (place / "privkey.pem").write_text(certificate.key_pem)
    (place / "fullchain.pem").write_text(certificate.pem + STRANGER.pem)
    known = place.parents[1] / "renewal" / f"{name}.conf"
    known.parent.mkdir(exist_ok=True)
    known.write_text("version = 5.8.0")


def served(settings: dict[str, Any]) -> tuple[str, str]:
    place = core.place(settings, "shop")
    return (place / "privkey.pem").read_text(), (place / "fullchain.pem").read_text()


FIRST, SECOND = issue("shop", ("shop.test",), STRANGER), issue("shop", ("shop.test",), STRANGER)


def test_a_pair_is_put_in_place_and_loaded_once(settings, programs):
    obtained(settings, FIRST)
    assert deploy.deploy(settings, item()) is True
    assert served(settings) == (FIRST.key_pem, FIRST.pem + STRANGER.pem)
    place = core.place(settings, "shop")
    assert [f"{os.stat(place / name).st_mode:o}"[-3:] for name in deploy.FILES] == ["600", "644"]
    assert programs["asked"] == [
        "systemd-run --quiet --wait --pipe --collect /usr/sbin/nginx -q -t",
        "systemctl is-active -q -- nginx.service",
        "systemctl reload-or-restart -- nginx.service",
    ]
    assert deploy.deploy(settings, item()) is False
    assert len(programs["asked"]) == 3
    assert [path.name for path in place.parent.iterdir()] == ["shop"]


def test_the_one_from_before_gives_way_and_its_neighbours_stay(settings, programs):
    obtained(settings, FIRST)
    deploy.deploy(settings, item())
    (core.place(settings, "shop") / "note.txt").write_text("mine")
    obtained(settings, SECOND)
    assert deploy.deploy(settings, item()) is True
    assert served(settings) == (SECOND.key_pem, SECOND.pem + STRANGER.pem)
    assert (core.place(settings, "shop") / "note.txt").read_text() == "mine"


def test_what_nginx_refuses_does_not_stay(settings, programs):
    obtained(settings, FIRST)
    deploy.deploy(settings, item())
    obtained(settings, SECOND)
    programs["refuses"] = lambda: served(settings)[0] == SECOND.key_pem
    with pytest.raises(core.AcmeError, match=r"it is not served, since Nginx refuses it: nginx: \[emerg\] bad"):
        deploy.deploy(settings, item())
    assert served(settings)[0] == FIRST.key_pem
    assert [path.name for path in core.place(settings, "shop").parent.iterdir()] == ["shop"]


def test_another_fault_of_nginx_does_not_keep_a_pair_out(settings, programs):
    obtained(settings, FIRST)
    deploy.deploy(settings, item())
    obtained(settings, SECOND)
    programs["refuses"] = lambda: True
    with pytest.raises(core.AcmeError, match="it is in place and not loaded"):
        deploy.deploy(settings, item())
    assert served(settings)[0] == SECOND.key_pem
    programs["refuses"] = lambda: False
    programs["asked"].clear()
    assert deploy.deploy(settings, item()) is True  # the next run makes up for the reload
    assert "systemctl reload-or-restart -- nginx.service" in programs["asked"]


def test_who_does_not_run_is_left_alone(settings, programs):
    programs["running"] = False
    obtained(settings, FIRST)
    assert deploy.deploy(settings, item()) is True
    assert not any("reload" in words for words in programs["asked"])


def test_other_modes_are_put_right(settings, programs):
    obtained(settings, FIRST)
    deploy.deploy(settings, item())
    os.chmod(core.place(settings, "shop") / "privkey.pem", 0o644)
    assert deploy.deploy(settings, item()) is True
    assert os.stat(core.place(settings, "shop") / "privkey.pem").st_mode & 0o777 == 0o600
    with pytest.raises(core.AcmeError, match="this host has no group 'nobody-here'; correct key_group"):
        deploy.deploy(settings, item(key_group="nobody-here"))


# --- a run ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(settings, programs, monkeypatch) -> dict[str, Any]:
    """An authority that issues what it is asked for, unless it is away."""
    found: dict[str, Any] = {"away": "", "issued": [], "renewed": [], "deleted": [], "told": [], "closed": []}

    def issues(settings: Any, item: dict[str, Any]) -> None:
        found["issued"].append(item["name"])
        obtained(settings, issue(item["name"], tuple(item["request"]["domains"]), STRANGER, days=90), item["name"])

    monkeypatch.setattr(install, "ensure", lambda settings: False)
    monkeypatch.setattr(certbot, "reach", lambda settings, server: found["away"])
    monkeypatch.setattr(certbot, "issue", issues)
    monkeypatch.setattr(certbot, "renew", lambda settings, item: found["renewed"].append(item["name"]))
    monkeypatch.setattr(certbot, "delete", lambda settings, name: found["deleted"].append(name))
    monkeypatch.setattr(certbot, "write_to", lambda settings, server: found["told"].append(server))
    monkeypatch.setattr(probe, "problems", lambda item, settings: [
        f"{domain}: closed" for domain in item["request"]["domains"] if domain in found["closed"]])  # fmt: skip
    return found


def test_what_is_missing_is_issued_once(settings, authority):
    assert cli.do_issue(settings) == {"changed": ["shop"], "problems": [], "served": ["shop"]}
    assert cli.do_issue(settings) == {"changed": [], "problems": [], "served": ["shop"]}
    assert authority["issued"] == ["shop"]


@pytest.mark.parametrize("left", ["renewal/shop.conf", "live/shop/fullchain.pem"])
def test_what_a_certbot_that_was_killed_has_left_is_no_certificate(settings, authority, monkeypatch, left):
    """Both files are empty in the middle of its work. With its record there, it keeps the next one as shop-0001."""
    cli.do_issue(settings)
    place = core.lineage(settings, "shop").parents[1]
    (place / left).write_text("")
    (place / "archive/shop").mkdir(parents=True)
    at_hand = []
    obtains = certbot.issue
    monkeypatch.setattr(certbot, "issue", lambda *words: (at_hand.extend(place.glob("*/shop*")), obtains(*words)))
    assert cli.do_renew(settings) == {"changed": ["shop"], "problems": [], "served": ["shop"]}
    assert at_hand == []
    assert authority["issued"] == ["shop", "shop"]


def test_what_certbot_keeps_elsewhere_is_no_success(settings, authority, monkeypatch):
    monkeypatch.setattr(certbot, "issue", lambda settings, item: None)
    found = cli.do_issue(settings)
    assert found["problems"][0]["problem"].startswith("certbot has not put it into ")
    assert found["changed"] == found["served"] == []


def test_what_is_left_of_a_certificate_that_nobody_names_goes(settings, monkeypatch):
    obtained(settings, FIRST)
    place = core.lineage(settings, "shop").parents[1]
    (place / "renewal/shop.conf").write_text("")
    monkeypatch.setattr(certbot, "run", lambda *words: (1, "No certificate found with name shop"))
    certbot.delete(settings, "shop")
    assert list(place.glob("*/shop*")) == []


def test_another_request_is_issued_anew(settings, authority):
    cli.do_issue(settings)
    settings["certificates"] = [item(domains=["shop.test"])]
    assert cli.do_issue(settings)["changed"] == ["shop"]
    assert authority["issued"] == ["shop", "shop"]


def test_the_authority_is_not_asked_while_the_way_in_is_closed(settings, authority):
    authority["closed"] = ["www.shop.test"]
    found = cli.do_issue(settings)
    assert found == {"changed": [], "problems": [{"name": "shop", "problem": "www.shop.test: closed"}], "served": []}
    assert authority["issued"] == []
    assert cli.do_status(settings)["problems"] == found["problems"]


def test_one_certificate_does_not_hold_up_another(settings, authority):
    settings["certificates"] = [item(domains=["closed.test"]), item("blog", domains=["blog.test"])]
    authority["closed"] = ["closed.test"]
    found = cli.do_issue(settings)
    assert (found["changed"], found["served"]) == (["blog"], ["blog"])


def test_a_full_disk_does_not_hold_up_another(settings, authority, monkeypatch):
    settings["certificates"] = [item(), item("blog", domains=["blog.test"])]
    issues, notes = certbot.issue, core.Record.note

    def issue(settings: Any, item: dict[str, Any]) -> None:
        if item["name"] == "shop":
            raise OSError(28, "No space left on device")
        issues(settings, item)

    def note(record: core.Record, name: str, **known: Any) -> None:
        if name == "shop":
            raise OSError(28, "No space left on device")
        notes(record, name, **known)

    monkeypatch.setattr(certbot, "issue", issue)
    monkeypatch.setattr(core.Record, "note", note)
    found = cli.do_issue(settings)
    assert found["problems"] == [{"name": "shop", "problem": "[Errno 28] No space left on device"}]
    assert found["served"] == ["blog"]


def test_the_old_names_are_renewed_while_a_new_one_is_refused(settings, authority):
    cli.do_issue(settings)
    settings["certificates"] = [item(domains=[*REQUEST["domains"], "new.test"])]
    authority["closed"] = ["new.test"]
    found = cli.do_renew(settings)
    assert (found["problems"], found["served"]) == ([{"name": "shop", "problem": "new.test: closed"}], [])
    assert authority["renewed"] == ["shop"]
    assert core.Record(settings).of("shop")["problem"] == "new.test: closed"


def test_an_authority_that_is_away_harms_nothing(settings, authority):
    cli.do_issue(settings)
    before = served(settings)
    authority["away"] = "https://ca.test/dir cannot be reached"
    found = cli.do_renew(settings)
    line = "the authority https://ca.test/dir cannot be reached"
    assert found == {"changed": [], "problems": [{"name": "shop", "problem": line}], "served": ["shop"]}
    assert served(settings) == before
    authority["away"] = ""
    assert cli.do_renew(settings)["problems"] == []
    assert cli.do_status(settings)["problems"] == []


def test_what_nobody_names_is_forgotten(settings, authority):
    settings["certificates"] = [item(), item("blog", domains=["blog.test"])]
    cli.do_issue(settings)
    settings["certificates"] = [item()]
    assert cli.do_issue(settings)["changed"] == ["blog"]
    assert authority["deleted"] == ["blog"]
    assert list(core.Record(settings).content["certificates"]) == ["shop"]


def test_another_address_is_told_once(settings, authority):
    cli.do_issue(settings)
    settings["email"] = "new@example.com"
    cli.do_issue(settings)
    cli.do_issue(settings)
    assert authority["told"] == ["https://ca.test/dir"]


def test_certbot_that_cannot_be_installed_is_told_of_each(settings, authority, monkeypatch):
    def fails(settings: Any) -> bool:
        raise core.AcmeError("certbot could not be installed: no index")

    monkeypatch.setattr(install, "ensure", fails)
    problem = {"name": "shop", "problem": "certbot could not be installed: no index"}
    assert cli.do_renew(settings) == {"changed": [], "problems": [problem], "served": []}
    # The one from before goes on, so that a package that cannot be had ends no certificate.
    Path(settings["link"]).mkdir()
    Path(settings["link"], "complete").write_text(install.PYTHON)
    assert cli.do_renew(settings) == {"changed": ["shop"], "problems": [problem], "served": ["shop"]}
    assert cli.do_renew(settings)["problems"] == [problem]
    assert authority["renewed"] == ["shop"]


def test_the_hook_is_about_its_lineage_alone(settings, authority, monkeypatch):
    settings["certificates"] = [item(), item("blog")]
    obtained(settings, FIRST)
    obtained(settings, SECOND, "blog")
    monkeypatch.setenv("RENEWED_LINEAGE", "/var/lib/x/live/blog")
    assert cli.do_deploy(settings)["changed"] == ["blog"]
    assert not core.place(settings, "shop").exists()


def test_the_command_line(settings, authority, monkeypatch, capsys):
    monkeypatch.setattr(cli, "config", lambda: settings)
    assert cli.main(["issue", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] == ["shop"]
    assert cli.main(["status"]) == 0
    assert capsys.readouterr().out.startswith("shop: shop.test, www.shop.test; until ")
    authority["away"] = "x is away"
    assert cli.main(["renew"]) == 1
    assert "shop: the authority x is away" in capsys.readouterr().out


def test_nothing_is_configured(tmp_path):
    with pytest.raises(core.AcmeError, match="give a certificate the source acme"):
        core.config(tmp_path / "config.json")


# --- certbot is installed ---------------------------------------------------------------------------------------------


def test_who_may_not_read_its_secrets_is_told(monkeypatch, capsys):
    def read(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", read)
    assert cli.main(["status"]) == 2
    assert "run djangofleet-acme as root" in capsys.readouterr().err


def test_certbot_is_installed_beside_the_one_in_use(tmp_path, monkeypatch):
    asked: list[list[str]] = []

    def run(words: list[str], seconds: float, environment: Any) -> tuple[int, str]:
        asked.append(words)
        if "venv" in words:
            Path(words[-1]).mkdir()
        return (1, "a\nno such version") if "bad==1" in words else (0, "")

    monkeypatch.setattr(install, "run", run)
    link = tmp_path / "certbot"

    def wanted(digest: str, *further: str) -> dict[str, Any]:
        path = f"{link}-{digest}"
        packages = {"lists": ["certbot", "certbot-dns-ovh"], "further": list(further), "constraints": ["acme==1"]}
        return {
            "link": str(link),
            "pip": {},
            "installation": {"path": path, "complete": f"{path}/complete", **packages},
        }

    assert install.ensure(wanted("a")) is True
    assert asked[1][-5:] == ["--require-hashes", "--requirement", str(install.LISTS / "certbot.txt"), "--requirement",
                             str(install.LISTS / "certbot-dns-ovh.txt")]  # fmt: skip
    assert install.ensure(wanted("a")) is False
    with pytest.raises(core.AcmeError, match="certbot could not be installed: a no such version"):
        install.ensure(wanted("b", "bad==1"))
    assert link.readlink().name == "certbot-a"
    assert install.ensure(wanted("c", "good==1")) is True
    assert sorted(path.name for path in tmp_path.iterdir()) == ["certbot", "certbot-c"]
    # After an upgrade of the distribution it is made anew.
    (tmp_path / "certbot-c/complete").write_text("3.9")
    assert install.ensure(wanted("c", "good==1")) is True


def test_every_locked_list_has_hashes_and_names_no_index():
    for path in install.LISTS.glob("*.txt"):
        text = path.read_text()
        assert "--hash=sha256:" in text, path.name
        assert "index-url" not in text, path.name
    lists = {path.stem for path in install.LISTS.glob("*.in")}
    assert lists == {path.stem for path in install.LISTS.glob("*.txt")}
