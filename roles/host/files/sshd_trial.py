"""Would who is at work still get in? Tries a configuration of sshd before it is put in place.

C(python3 - DIRECTORY <sshd_trial.py), where the directory is a copy of /etc/ssh, prints what is wrong, a line each, and
ends with 1 then. Who is at work, and how they came, is read from the processes above this one and from the journal, so
that it is true whatever an inventory says. Without a connection over ssh only the configuration is tried.
"""

from __future__ import annotations

import fnmatch
import grp
import ipaddress
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

DAEMON = "/usr/sbin/sshd"
OURS = "00-djangofleet.conf"
SEPARATION = "/run/sshd"  # without it sshd does not even test; the unit makes it
PATIENCE = 20  # seconds for the journal, which may be long
Settings = dict[str, list[str]]
# How the algorithms of a kind of key begin, as sshd logs the kind
ALGORITHMS = {
    "RSA": ("rsa-", "ssh-rsa"),
    "ECDSA": ("ecdsa-",),
    "ED25519": ("ssh-ed25519",),
    "ECDSA-SK": ("sk-ecdsa-", "webauthn-sk-ecdsa-"),
    "ED25519-SK": ("sk-ssh-ed25519",),
}
# What a method of authentication needs
NEEDED = {
    "publickey": "pubkeyauthentication",
    "password": "passwordauthentication",
    "keyboard-interactive": "kbdinteractiveauthentication",
    "gssapi-with-mic": "gssapiauthentication",
    "hostbased": "hostbasedauthentication",
}


class TrialError(Exception):
    """sshd refuses the configuration; the text is its own."""


@dataclass(frozen=True)
class Login:
    """A connection in use.

    :param method: how they were authenticated; empty where the journal does not know.
    :param key: the kind of their key, such as ED25519 or RSA-CERT.
    """

    user: str
    address: str
    own_address: str
    own_port: int
    method: str = ""
    key: str = ""


@dataclass(frozen=True)
class Account:
    """What the host knows of a user."""

    uid: int = 1000
    groups: tuple[str, ...] = ()
    has_keys: bool = True


# --- who is at work ---------------------------------------------------------------------------------------------------


def environment_of(process: int) -> dict[str, str]:
    """What a process was started with."""
    try:
        words = Path(f"/proc/{process}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(word.split("=", 1) for word in words if "=" in word)


def above(process: int) -> Iterator[tuple[int, str]]:
    """The processes above one, each with its name."""
    while process > 1:
        try:
            # "123 (name with spaces) S 122 …"
            name, _close, rest = Path(f"/proc/{process}/stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            return
        yield process, name
        process = int(rest.split()[1])


def connection(process: int) -> tuple[str, list[str]] | None:
    """User and words of SSH_CONNECTION of the session that a process belongs to.

    sudo drops the variable: the session's first process has it, below sshd.
    """
    found = None
    for each, name in above(process):
        if name.startswith("sshd"):
            break
        environment = environment_of(each)
        words = environment.get("SSH_CONNECTION", "").split()
        if len(words) == 4:
            found = environment.get("LOGNAME") or environment.get("USER") or "", words
    return found


def method_of(user: str, address: str, port: str) -> tuple[str, str]:
    """How somebody was authenticated, and the kind of the key, as sshd logged it; empty where the journal forgot.

    Any user may log under the name of sshd: what root has logged counts.
    """
    line = rf"^Accepted (\S+) for {re.escape(user)} from {re.escape(address)} port {port} "
    words = ["journalctl", "--quiet", "--no-pager", "--output=cat", "--reverse", "--lines=1", f"--grep={line}"]
    try:
        answer = subprocess.run([*words, "-t", "sshd", "-t", "sshd-session", "_UID=0"], capture_output=True, text=True,
                                check=False, timeout=PATIENCE)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return "", ""
    found = re.match(rf"{line}(?:ssh2: (\S+))?", answer.stdout)
    return (found[1].partition("/")[0], found[2] or "") if found else ("", "")


def login() -> Login | None:
    """The connection by which this was started."""
    found = connection(os.getppid())
    if not found or not found[0]:
        return None
    user, (address, port, own_address, own_port) = found
    return Login(user, address, own_address, int(own_port), *method_of(user, address, port))


def account_of(user: str, settings: Settings) -> Account:
    """What the host knows of a user, and whether there are keys where sshd would look for them."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return Account(has_keys=False)
    groups = []
    for number in os.getgrouplist(user, entry.pw_gid):
        try:
            groups.append(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    elsewhere = [settings.get(key, ["none"]) for key in ("authorizedkeyscommand", "trustedusercakeys")]
    files = " ".join(settings.get("authorizedkeysfile", [])).split()
    has_keys = any(value != ["none"] for value in elsewhere) or any(
        has_key(os.path.join(entry.pw_dir, expand(name, entry))) for name in files
    )
    return Account(entry.pw_uid, tuple(groups), has_keys)


def expand(name: str, entry: pwd.struct_passwd) -> str:
    """AuthorizedKeysFile with its tokens, as sshd_config(5) has them."""
    tokens = {"%h": entry.pw_dir, "%u": entry.pw_name, "%U": str(entry.pw_uid), "%%": "%"}
    return re.sub("%[huU%]", lambda found: tokens[found[0]], name)


def has_key(path: str) -> bool:
    """Whether a file has a line that is neither empty nor a comment."""
    try:
        lines = Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(line.strip() and not line.strip().startswith("#") for line in lines)


# --- what sshd would do -----------------------------------------------------------------------------------------------


def parse(text: str) -> Settings:
    """What `sshd -T` prints, by keyword."""
    found: Settings = {}
    for line in text.splitlines():
        keyword, _space, value = line.partition(" ")
        found.setdefault(keyword.lower(), []).append(value)
    return found


def effective(file: Path, login: Login | None = None, keys: Sequence[str] = ()) -> Settings:
    """What sshd makes of a configuration, for somebody in particular where Match blocks are to count.

    :param keys: host keys, for a file that names none: sshd wants one even for a test.
    :raises TrialError: it does not take it.
    """
    words = [DAEMON, "-T", "-f", str(file), *(f"-oHostKey={key}" for key in keys)]
    if login:
        of = {"user": login.user, "host": login.address, "addr": login.address, "laddr": login.own_address,
              "lport": login.own_port}  # fmt: skip
        words += ["-C", ",".join(f"{key}={value}" for key, value in of.items())]
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise TrialError(answer.stderr.strip() or f"sshd ended with {answer.returncode}")
    return parse(answer.stdout)


def today(login: Login) -> Settings:
    """What sshd makes of its configuration as it is; nothing if it does not take it."""
    try:
        return effective(Path("/etc/ssh/sshd_config"), login)
    except TrialError:
        return {}


def overruled(wanted: str, alone: Settings, whole: Settings) -> Iterator[str]:
    """What another file says before ours.

    :param wanted: our file.
    :param alone: what sshd makes of it alone, in its own spelling.
    """
    for keyword in dict.fromkeys(line.split()[0].lower() for line in wanted.splitlines() if re.match("[A-Za-z]", line)):
        if missing := [value for value in alone.get(keyword, []) if value not in whole.get(keyword, [])]:
            advice = f"a look into /etc/ssh/sshd_config, and into what lies before {OURS} in sshd_config.d"
            reason = f"sshd goes by what it reads first, and '{' '.join(missing)}' of host_ssh_settings comes later"
            yield told(keyword, whole.get(keyword, []), advice, reason)


def told(keyword: str, found: list[str], wanted: str, reason: str) -> str:
    """The line about one setting."""
    return f"{keyword}: found '{' '.join(found)}'; give {wanted}: {reason}"


def is_named(patterns: list[str], name: str, address: str = "") -> bool:
    """Whether a list of sshd names somebody; a pattern with "!" that fits says no whatever the others say."""
    named = False
    for pattern in " ".join(patterns).split():
        text, _at, host = pattern.removeprefix("!").partition("@")
        if fnmatch.fnmatchcase(name, text) and (not host or is_from(host, address)):
            if pattern.startswith("!"):
                return False
            named = True
    return named


def is_from(pattern: str, address: str) -> bool:
    """Whether an address is one of a pattern or a network. Names are not looked up, as sshd does not by default."""
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return fnmatch.fnmatchcase(address, pattern)


def lock_outs(settings: Settings, login: Login, account: Account, before: Settings) -> Iterator[str]:
    """By what somebody who is at work could not come again, a line each.

    :param before: what sshd makes of the configuration that they came by.
    """
    who = f"Ansible is connected as {login.user} from {login.address}"
    who += f" by {login.method}" if login.method else ""

    def refused(keyword: str, wanted: str) -> str:
        return told(keyword, settings.get(keyword.lower(), []), wanted, who)

    def says(keyword: str) -> str:
        return settings.get(keyword, [""])[0]

    if account.uid == 0 and says("permitrootlogin") != "yes":
        if login.method in ("password", "keyboard-interactive"):
            yield refused("PermitRootLogin", "yes, or let root come by key")
        elif says("permitrootlogin") in ("no", "forced-commands-only"):
            yield refused("PermitRootLogin", "prohibit-password, or let Ansible connect as another user")
    if (needed := NEEDED.get(login.method)) and says(needed) != "yes":
        yield refused(needed, "yes, or come by key")
    accepted = ",".join(settings.get("pubkeyacceptedalgorithms", [])).split(",")
    if accepted != [""] and not any(is_for(algorithm, login.key) for algorithm in accepted):
        yield refused("PubkeyAcceptedAlgorithms", f"one for a key of kind {login.key} too, or come by another key")
    ways = " ".join(settings.get("authenticationmethods", ["any"])).split()
    asked = [{part.partition(":")[0] for part in way.split(",")} for way in ways]
    # Of several methods the journal has the last one.
    is_new = settings.get("authenticationmethods") != before.get("authenticationmethods")
    if is_new and login.method and "any" not in ways and {login.method} not in asked:
        yield refused("AuthenticationMethods", f"{login.method} among them")
    passwords = "yes" in (says("passwordauthentication"), says("kbdinteractiveauthentication"))
    if not account.has_keys and (login.method == "publickey" or not (login.method or passwords)):
        yield refused("AuthorizedKeysFile", f"a file with a key of {login.user}, which none of them has")
    for keyword, names in (("Users", [login.user]), ("Groups", account.groups)):
        yield from unlisted(settings, keyword, names, login.address, who)
    if not is_listening(settings, login):
        yield refused("ListenAddress", f"{login.own_address} port {login.own_port} too, where this connection came")


def is_for(algorithm: str, key: str) -> bool:
    """Whether an algorithm is for a kind of key; each is for one that is not known."""
    kind, is_certificate = key.removesuffix("-CERT"), key.endswith("-CERT")
    return kind not in ALGORITHMS or (
        algorithm.startswith(ALGORITHMS[kind]) and ("-cert-" in algorithm) is is_certificate
    )


def unlisted(settings: Settings, kind: str, names: Sequence[str], address: str, who: str) -> Iterator[str]:
    """What is wrong with the lists of users or of groups."""
    for keyword, allows in ((f"Allow{kind}", True), (f"Deny{kind}", False)):
        patterns = settings.get(keyword.lower(), [])
        if patterns and any(is_named(patterns, name, address) for name in names) is not allows:
            wanted = f"{'one' if allows else 'none'} of {', '.join(names) or 'their groups'}"
            yield told(keyword, patterns, wanted, who)


def is_listening(settings: Settings, login: Login) -> bool:
    """Whether sshd would listen where the connection in use was made."""
    for place in settings.get("listenaddress", []):
        address, _colon, port = place.rpartition(":")
        bare = address.strip("[]")
        if port == str(login.own_port) and bare in ("0.0.0.0", "::", login.own_address):  # noqa: S104
            return True
    return not settings.get("listenaddress")


def trial(directory: Path) -> list[str]:
    """What is wrong with a copy of /etc/ssh, a line each."""
    text = (directory / "sshd_config").read_text(errors="replace")
    copy = directory / "sshd_config.trial"
    copy.write_text(text.replace("/etc/ssh/sshd_config.d/", f"{directory}/sshd_config.d/"))
    own = directory / "sshd_config.d" / OURS
    try:
        whole = effective(copy)
        found = list(overruled(own.read_text(), effective(own, keys=whole.get("hostkey", [])), whole))
        if who := login():
            settings = effective(copy, who)
            found += lock_outs(settings, who, account_of(who.user, settings), today(who))
    except TrialError as error:
        return [f"host_ssh_settings: {line}" for line in str(error).splitlines()]
    return found


def main() -> int:
    made = not os.path.isdir(SEPARATION)
    if made:
        os.mkdir(SEPARATION, 0o755)
    try:
        found = trial(Path(sys.argv[1]))
    finally:
        if made:
            os.rmdir(SEPARATION)
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
