"""What certbot is asked for, and what it says."""

from __future__ import annotations

import ipaddress
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .core import AcmeError, end_of, lineage, run

SECONDS = 1200  # with DNS a provider may take many minutes
# An authority may forget a nonce at any time (RFC 8555, 6.5). certbot repeats each request once, and then gives up.
NONCES, ATTEMPTS = ("badNonce", "invalid anti-replay nonce"), 3
NOISE = (
    "Saving debug log",
    "Ask for help or search for solutions",
    "See the logfile",
    "- - - -",
    "Processing ",
    "Account registered.",
    "Requesting a certificate",
    "Renewing an existing certificate",
    "Simulating renewal",
    "All renewals failed",
    "1 renew failure",
)


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def issue_words(settings: Mapping[str, Any], item: Mapping[str, Any]) -> list[str]:
    """The command that has a certificate issued now, whatever there is of it."""
    request = item["request"]
    words = [
        *_certbot(settings, "certonly"),
        "--cert-name",
        item["name"],
        "--force-renewal",
        "--renew-with-new-domains",
    ]
    # Without it certbot keeps a certificate of a real authority when a trial one of staging is asked for.
    words += ["--break-my-certs", "--server", request["directory_url"]]
    for name in request["domains"]:
        words += ["--ip-address" if is_address(name) else "--domain", name]
    if request["key_type"] == "rsa":
        words += ["--key-type", "rsa", "--rsa-key-size", str(request["key_size"])]
    else:
        words += ["--key-type", "ecdsa", "--elliptic-curve", "secp256r1"]
    if request["profile"]:
        words += ["--preferred-profile", request["profile"]]
    return words + _challenge_words(settings, request)


def _challenge_words(settings: Mapping[str, Any], request: Mapping[str, Any]) -> list[str]:
    if request["challenge"] == "http":
        return ["--authenticator", "webroot", "--webroot-path", settings["webroot"]]
    dns = request["dns"]
    if "plugin" not in dns:
        words = ["--authenticator", "manual", "--preferred-challenges", "dns", "--manual-auth-hook", dns["auth_hook"]]
        return words + (["--manual-cleanup-hook", dns["cleanup_hook"]] if "cleanup_hook" in dns else [])
    plugin = f"dns-{dns['plugin']}"
    words = ["--authenticator", plugin]
    if dns.get("credentials_file") and dns["plugin"] != "route53":  # which reads AWS_CONFIG_FILE
        words += [f"--{plugin}-credentials", dns["credentials_file"]]
    if "propagation_seconds" in dns:
        words += [f"--{plugin}-propagation-seconds", str(dns["propagation_seconds"])]
    return words


def environment(settings: Mapping[str, Any], item: Mapping[str, Any]) -> dict[str, str]:
    """What certbot finds in its environment."""
    found = {"REQUESTS_CA_BUNDLE": settings["ca_bundle"]}
    dns = item["request"]["dns"]
    if dns.get("plugin") == "route53" and dns.get("credentials_file"):
        found["AWS_CONFIG_FILE"] = dns["credentials_file"]
    return found


def issue(settings: Mapping[str, Any], item: Mapping[str, Any]) -> None:
    _run(issue_words(settings, item), environment(settings, item))


def renew(settings: Mapping[str, Any], item: Mapping[str, Any]) -> None:
    """Renew a certificate if its authority says so (ARI), or a third of its time is left."""
    words = [*_certbot(settings, "renew"), "--cert-name", item["name"], "--no-random-sleep-on-renew"]
    _run(words, environment(settings, item))


def delete(settings: Mapping[str, Any], name: str) -> None:
    if is_whole(settings, name):
        _run([*_certbot(settings, "delete"), "--cert-name", name], {})
    else:
        clear(settings, name)


def is_whole(settings: Mapping[str, Any], name: str) -> bool:
    """Whether certbot knows what it needs to renew a certificate."""
    known = _known(settings, name)
    return known.is_file() and known.stat().st_size > 0 and end_of(lineage(settings, name) / "fullchain.pem") > 0


def clear(settings: Mapping[str, Any], name: str) -> None:
    """Remove what a certbot that was killed has left, or it would keep the next one as NAME-0001."""
    live = lineage(settings, name)
    for directory in (live, live.parents[1] / "archive" / name):
        shutil.rmtree(directory, ignore_errors=True)
    _known(settings, name).unlink(missing_ok=True)


def _known(settings: Mapping[str, Any], name: str) -> Path:
    """certbot's record of a certificate, which it writes last."""
    return lineage(settings, name).parents[1] / "renewal" / f"{name}.conf"


def write_to(settings: Mapping[str, Any], server: str) -> None:
    """Tell an authority the new e-mail address of the account."""
    _run([*_certbot(settings, "update_account"), "--server", server], {"REQUESTS_CA_BUNDLE": settings["ca_bundle"]})


def _certbot(settings: Mapping[str, Any], command: str) -> list[str]:
    return [settings["certbot"], command, "--config", settings["cli"], "--non-interactive"]


def _run(words: list[str], environment: Mapping[str, str]) -> None:
    for _attempt in range(ATTEMPTS):
        code, printed = run(words, SECONDS, environment)
        if code == 0 or not any(words in printed for words in NONCES):
            break
    if code != 0:
        raise AcmeError(f"certbot {words[1]} failed: {gist(printed)}")


def gist(printed: str) -> str:
    """What certbot says went wrong, without what it always says."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    told = [line for line in lines if line and not line.startswith(NOISE)]
    return " ".join(told)[-1200:] or "it said nothing; see its log in /var/log/djangofleet-acme"


def reach(settings: Mapping[str, Any], server: str) -> str:
    """Why an authority cannot be asked now; empty if it can."""
    try:
        context = ssl.create_default_context(cafile=settings["ca_bundle"])
        with urllib.request.urlopen(server, timeout=15, context=context) as answer:  # noqa: S310  # https, says the role
            answer.read(65536)
    except urllib.error.HTTPError as error:
        return f"{server} answers {error.code}; wait, or correct certificate_acme_directory_url"
    except (OSError, ValueError) as error:
        if not Path(settings["ca_bundle"]).is_file():
            return f"{settings['ca_bundle']} is not there; correct certificate_acme_ca_bundle"
        reason = getattr(error, "reason", error)
        return f"{server} cannot be reached ({reason}); wait, or correct certificate_acme_directory_url"
    return ""
