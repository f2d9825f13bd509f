# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The certificates that an ACME authority signs: what the host is told of them, what is due, what ends soon.

What is wrong with the variables is in certificate_acme_problems.py. The program on the host, djangofleet-acme, issues
and renews. C(answers) are what djangofleet.stack.survey found there.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate import certificates, domains
from ansible_collections.djangofleet.stack.plugins.plugin_utils.certificate_plan import Held, modes
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import ROLES
from ansible_collections.djangofleet.stack.plugins.plugin_utils.x509 import DAY

CONFIG = "/etc/djangofleet-acme"
STATE = "/var/lib/djangofleet/acme"
RECORD = f"{STATE}/state.json"
LOGS = "/var/log/djangofleet-acme"
LINK = "/opt/djangofleet/certbot"
PROGRAM = "/usr/local/bin/djangofleet-acme"
PACKAGE = "/usr/lib/djangofleet/djangofleet_acme"
TIMER = "djangofleet-acme.timer"
UNITS = "/etc/systemd/system"
LISTS = ROLES / "certificate" / "files" / "djangofleet_acme" / "requirements"
TRUSTED = "/etc/ssl/certs/ca-certificates.crt"


def acme(options: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The certificates that an ACME authority signs, each with the path of its variable."""
    return [pair for pair in certificates(options) if pair[1]["source"] == "acme"]


def webroot(options: Mapping[str, Any]) -> str:
    """Where the web server of the host reads answers to challenges; empty where there is none."""
    return options["certificate_acme_webroot"] or options["certificate_app_acme_webroot"]


def own_plugins() -> list[str]:
    """The DNS plugins whose packages are locked with their hashes."""
    return sorted(path.stem.removeprefix("certbot-dns-") for path in LISTS.glob("certbot-dns-*.txt"))


def request(item: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """What the authority is asked for. Another request issues the certificate anew; secrets are in files beside it."""
    dns = {key: value for key, value in item.get("dns", {}).items() if key not in ("credentials", "package")}
    if "credentials" in item.get("dns", {}):
        dns["credentials_file"] = f"{CONFIG}/credentials/{item['name']}.ini"
    key_type = item.get("key_type", options["certificate_key_type"])
    return {
        "directory_url": options["certificate_acme_directory_url"],
        "domains": domains(item),
        "key_type": key_type,
        "key_size": item.get("key_size", options["certificate_key_size"]) if key_type == "rsa" else 0,
        "challenge": item["challenge"],
        # certbot renews by the directory that it was issued by.
        "webroot": webroot(options) if item["challenge"] == "http" else "",
        "dns": dns,
        "profile": item.get("profile", options["certificate_acme_profile"]),
    }


def settings(options: Mapping[str, Any], reload_units: Sequence[str]) -> dict[str, Any]:
    """What the program on the host reads."""
    return {
        "certbot": f"{LINK}/bin/certbot",
        "link": LINK,
        "installation": installation(options),
        "pip": pip_environment(options),
        "cli": f"{CONFIG}/cli.ini",
        "state": STATE,
        "directory": options["certificate_directory"],
        "webroot": webroot(options),
        "email": options["certificate_acme_email"],
        "ca_bundle": options["certificate_acme_ca_bundle"] or TRUSTED,
        "reload_units": list(reload_units),
        "check": {key: options[f"certificate_acme_check_{key}"] for key in ("enabled", "address", "port")},
        "certificates": [
            {"name": item["name"], "key_group": item.get("key_group", ""), "request": request(item, options)}
            for _path, item in acme(options)
        ],
    }


def certbot_settings(options: Mapping[str, Any]) -> dict[str, str]:
    """What certbot reads: secrets too, which would be seen in a command line."""
    found = {
        "email": options["certificate_acme_email"],
        "agree-tos": "true",
        "no-eff-email": "true",
        "config-dir": f"{STATE}/certbot",
        "work-dir": f"{STATE}/work",
        "logs-dir": LOGS,
        "max-log-backups": "50",
        "deploy-hook": f"{PROGRAM} deploy",
    }
    if options["certificate_acme_eab_key_id"]:
        found["eab-kid"] = options["certificate_acme_eab_key_id"]
        found["eab-hmac-key"] = options["certificate_acme_eab_hmac_key"]
    return found


# The environment of certbot


def packages(options: Mapping[str, Any]) -> dict[str, list[str]]:
    """What certbot's environment has: C(lists), the names of locked lists; C(further), packages of other plugins."""
    asked = [item["dns"] for _path, item in acme(options) if item["challenge"] == "dns" and "plugin" in item["dns"]]
    own = sorted({dns["plugin"] for dns in asked if "package" not in dns})
    return {
        "lists": ["certbot", *(f"certbot-dns-{plugin}" for plugin in own)],
        "further": sorted({dns["package"] for dns in asked if "package" in dns}),
    }


def installation(options: Mapping[str, Any]) -> dict[str, Any]:
    """Where certbot's environment is, by what it has, and what it is made with."""
    wanted = packages(options)
    texts = [(LISTS / f"{name}.txt").read_text() for name in wanted["lists"]]
    digest = hashlib.sha256(json.dumps([texts, wanted["further"]]).encode()).hexdigest()[:12]
    path = f"{LINK}-{digest}"
    return {
        **wanted,
        "path": path,
        "complete": f"{path}/complete",
        # What a further plugin wants is not to change what is locked.
        "constraints": [pin for text in texts for pin in re.findall(r"^([\w.-]+==[^\s;]+)", text, re.MULTILINE)],
    }


def pip_environment(options: Mapping[str, Any]) -> dict[str, str]:
    """What pip is told about where packages come from. A command line would show a password."""

    def given(name: str) -> str:
        return options[f"certificate_acme_{name}"] or options[f"certificate_app_acme_{name}"]

    index = {"PIP_INDEX_URL": given("index_url")} if given("index_url") else {}
    return {"PIP_CERT": given("index_ca_bundle") or TRUSTED, **index}


def questions(options: Mapping[str, Any]) -> dict[str, list[str]]:
    """What is to be known of the host, whose last certificate of an authority may have gone."""
    found: dict[str, list[str]] = {"paths": [f"{CONFIG}/config.json"]}
    if acme(options):
        found["paths"].append(installation(options)["complete"])
        found |= {"files": [RECORD], "units": [TIMER]}
    return found


def entries(options: Mapping[str, Any], reload_units: Sequence[str]) -> list[dict[str, Any]]:
    """What lies on the host besides certificates, for djangofleet.stack.tree."""
    if not acme(options):
        return []
    secret = {"mode": "0600", "sensitive": True}
    cli = "".join(f"{key} = {value}\n" for key, value in certbot_settings(options).items())
    config = json.dumps(settings(options, reload_units), indent=2, sort_keys=True)
    return [
        {"path": PACKAGE, "copy": "djangofleet_acme"},
        {"path": PROGRAM, "template": "usr/local/bin/djangofleet-acme.j2", "mode": "0755"},
        {"path": CONFIG, "directory": True, "mode": "0700"},
        {"path": f"{CONFIG}/config.json", "content": f"{config}\n", **secret},
        {"path": f"{CONFIG}/cli.ini", "content": cli, **secret},
        {"path": f"{CONFIG}/credentials", "directory": True, "mode": "0700"},
        *(
            {
                "path": f"{CONFIG}/credentials/{item['name']}.ini",
                "content": item["dns"]["credentials"].rstrip("\n") + "\n",
                **secret,
            }
            for _path, item in acme(options)
            if "credentials" in item.get("dns", {})
        ),
        {"path": LOGS, "directory": True, "mode": "0700"},
        {"path": f"{STATE}", "directory": True, "mode": "0700"},
        *(
            {"path": f"{UNITS}/djangofleet-acme.{kind}", "template": f"etc/systemd/system/djangofleet-acme.{kind}.j2"}
            for kind in ("service", "timer")
        ),
    ]


def removal() -> list[dict[str, Any]]:
    """What goes of it, for djangofleet.stack.tree; the configuration last: it tells that there is something to remove.

    What the authority has signed stays.
    """
    units = [f"{UNITS}/djangofleet-acme.{kind}" for kind in ("service", "timer")]
    return [{"path": path, "absent": True} for path in (PROGRAM, PACKAGE, *units, CONFIG)]


# What is due


def record(answers: Mapping[str, Any]) -> dict[str, Any]:
    """What the host has noted; nothing where it never did."""
    try:
        found = json.loads(answers.get("files", {}).get(RECORD, ""))
        return {"email": found["email"], "certificates": dict(found["certificates"])}
    except (ValueError, KeyError, TypeError):
        return {"email": "", "certificates": {}}


def digest_of(pem: str) -> str:
    """The fingerprint of a certificate, as the host notes it."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.strip())).hexdigest()


def reasons(
    item: Mapping[str, Any],
    options: Mapping[str, Any],
    known: Mapping[str, Any],
    held: Held,
    now: datetime.datetime,
) -> list[str]:
    """Why the host is to see to a certificate; empty if it is as it should be.

    :param known: what the host has noted about it.
    :param held: what lies where servers read it.
    """
    asked, wanted = known.get("request"), request(item, options)
    if asked is None:
        return ["the authority has not issued it yet"]
    found = [
        text
        for keys, text in (
            (("directory_url",), "it is of another authority"),
            (("domains",), f"it is for {', '.join(asked.get('domains', []))}"),
            (("key_type", "key_size"), "its key is of another kind"),
            (("challenge", "webroot", "dns", "profile"), "it is asked for in another way"),
        )
        if any(asked.get(key) != wanted[key] for key in keys)
    ]
    if not found and not (held.fits and digest_of(held.certificate.pem) == known.get("loaded")):
        found.append("it does not lie where servers read it")
    elif not found and held.modes != modes(item.get("key_group", "")):
        found.append("the modes of its files are wrong")
    elif not found and held.certificate.end < now:
        found.append("it has expired")
    return found


def plan(options: Mapping[str, Any], answers: Mapping[str, Any], now: datetime.datetime) -> dict[str, Any]:
    """What the host has to do for the certificates of an authority.

    :returns: C(install), whether certbot is to be installed; C(due), the names of what is not as it should be;
        C(messages), a line for each; C(start), whether the timer is to be started; C(remove), entries of what goes for
        djangofleet.stack.tree, since no certificate is of an authority any more.
    """
    items = [item for _path, item in acme(options)]
    paths = answers.get("paths", {})
    is_there = bool(paths.get(f"{CONFIG}/config.json"))
    if not items:
        return {"install": False, "due": [], "messages": [], "start": False, "remove": removal() if is_there else []}
    noted = record(answers)
    known, names = noted["certificates"], [item["name"] for item in items]
    judged = {
        item["name"]: reasons(
            item, options, known.get(item["name"], {}), Held.of(answers.get("certificates", {}), item["name"]), now
        )
        for item in items
    }
    messages = [f"Certificate {name} is seen to: {'; '.join(found)}." for name, found in judged.items() if found]
    messages += [f"Certificate {name} is forgotten: nobody names it any more." for name in known if name not in names]
    if known and noted["email"] != options["certificate_acme_email"]:
        messages.append(f"The authority is told another e-mail address: {options['certificate_acme_email']}.")
    timer = answers.get("units", {}).get(TIMER, {})
    return {
        "install": not paths.get(installation(options)["complete"]),
        "due": [name for name, found in judged.items() if found],
        "messages": messages,
        "start": not (timer.get("active") and timer.get("enabled")),
        "remove": [],
    }


def outcome(options: Mapping[str, Any], printed: str) -> dict[str, list[str]]:
    """What has come of issuing: C(changed), names; C(warnings) and C(problems), lines.

    What goes wrong is a warning while a certificate of the authority is good for all domains, and an error otherwise.
    """
    try:
        found = json.loads(printed)
        changed, told, served = found["changed"], found["problems"], found["served"]
    except (ValueError, KeyError, TypeError):
        return {"changed": [], "warnings": [], "problems": [f"djangofleet-acme: {printed.strip() or 'said nothing'}"]}
    paths = {item["name"]: path for path, item in acme(options)}
    result: dict[str, list[str]] = {"changed": changed, "warnings": [], "problems": []}
    for each in told:
        line = f"{paths.get(each['name'], 'certificate_acme_email')}: {each['problem']}"
        result["warnings" if each["name"] in ("", *served) else "problems"].append(line)
    return result


def warnings(options: Mapping[str, Any], answers: Mapping[str, Any], now: datetime.datetime) -> list[str]:
    """The certificates of an authority that should have been renewed long ago, a line each."""
    known, found = record(answers)["certificates"], []
    for path, item in acme(options):
        held = Held.of(answers.get("certificates", {}), item["name"]).certificate
        if held is None or digest_of(held.pem) != known.get(item["name"], {}).get("loaded"):
            continue
        if held.end - now < min(options["certificate_warn_days"] * DAY, datetime.timedelta(days=held.days) / 4):
            why = known[item["name"]].get("problem") or "see journalctl -u djangofleet-acme"
            found.append(f"{path}: ends on {held.end:%Y-%m-%d} and has not been renewed: {why}")
    return found
