"""The contestant pyinfra: the same resources as somebody writes them who works with pyinfra, one operation each.

Started by bench/converge. What varies is in the data `resources`: a directory that bench/lib/resources.py has written.
"""

import json
from pathlib import Path

from pyinfra import host
from pyinfra.api import FileUploadCommand, operation
from pyinfra.facts.files import File
from pyinfra.facts.server import Command
from pyinfra.operations import apt, files, server, systemd

DIRECTORY = Path(host.data.resources)
RESOURCES = json.loads((DIRECTORY / "resources.json").read_text())
AUTHORITY = "/etc/djangofleet/authority"
CERTIFICATES = "/etc/djangofleet/certificates"
KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
DJANGOCTL = "/usr/local/bin/djangoctl"
APT = {"update": True, "cache_time": 3600, "no_recommends": True}


def changed(operations: list, *prefixes: str):
    """A condition: one of these files was changed."""
    chosen = [meta for path, meta in operations if path.startswith(prefixes)]
    return lambda: any(meta.did_change() for meta in chosen)


def put(entry: dict):
    """A file, directory or link with its owner and mode."""
    path = entry["path"]
    if entry["kind"] == "absent":
        return files.file(name=path, path=path, present=False)
    if entry["kind"] == "link":
        return files.link(name=path, path=path, target=entry["target"])
    owned = {"user": entry["owner"], "group": entry["group"], "mode": entry["mode"]}
    if entry["kind"] == "directory":
        return files.directory(name=path, path=path, **owned)
    return files.put(name=path, src=str(DIRECTORY / f"files{path}"), dest=path, **owned)


@operation()
def installed(path: str, commands: list[str]):
    """Something that is there once a file of it is."""
    if host.get_fact(File, path=path):
        host.noop(f"{path} is there")
    else:
        yield from commands


@operation()
def authority(directory: str, common_name: str):
    """A key and a certificate that fit each other and are valid for 30 more days, with tight modes."""
    key, certificate = f"{directory}/ca.key", f"{directory}/ca.pem"
    if host.get_fact(Command, command=fitting(key, certificate)) == "good":
        host.noop("the authority is good")
        return
    yield (
        f"umask 077; openssl req -x509 {KEY} -days 3650 -subj '/CN={common_name}' -keyout {key} -out {certificate} "
        f"-addext keyUsage=critical,keyCertSign,cRLSign && chmod 0644 {certificate}"
    )


@operation()
def certificate(directory: str, domains: list[str]):
    """The same, signed by the authority, for these domains."""
    key, chain, request = (f"{directory}/{name}.pem" for name in ("privkey", "fullchain", "request"))
    names = " && ".join(
        f"openssl x509 -in {chain} -noout -checkhost {domain} | grep -q 'does match'" for domain in domains
    )
    test = f"openssl verify -CAfile {AUTHORITY}/ca.pem {chain} && {names}"
    if host.get_fact(Command, command=fitting(key, chain, test)) == "good":
        host.noop("the certificate is good")
        return
    alternatives = ",".join(f"DNS:{domain}" for domain in domains)
    yield (
        f"umask 077; openssl req {KEY} -subj '/CN={domains[0]}' -addext subjectAltName={alternatives} "
        "-addext basicConstraints=critical,CA:FALSE -addext keyUsage=critical,digitalSignature "
        f"-addext extendedKeyUsage=serverAuth -keyout {key} -out {request} && "
        f"openssl x509 -req -in {request} -CA {AUTHORITY}/ca.pem -CAkey {AUTHORITY}/ca.key -days 397 "
        f"-copy_extensions copyall -out {chain} && chmod 0644 {chain} && rm {request}"
    )


def fitting(key: str, certificate: str, further: str = "true") -> str:
    """The question whether a key and a certificate are as they should be; the answer is `good` or nothing."""
    return (
        f'{{ test "$(stat -c %a:%U:%G {key} {certificate} | xargs)" = "600:root:root 644:root:root" && '
        f"openssl x509 -in {certificate} -noout -checkend 2592000 && "
        f'test "$(openssl pkey -in {key} -pubout)" = "$(openssl x509 -in {certificate} -noout -pubkey)" && '
        f"{further}; }} >/dev/null 2>&1 && echo good || true"
    )


@operation()
def release(app: str, revision: str, archive: str):
    """The release of that source, live: what the host's own djangoctl says, asked once."""
    question = f"{DJANGOCTL} {app} build --revision={revision} --version= --dry-run --json 2>/dev/null || true"
    answer = host.get_fact(Command, command=question)
    if answer and not json.loads(answer)["pending"]:
        host.noop(f"the release of {app} is live")
        return
    remote = f"/srv/{app}/source.tar.gz"
    yield FileUploadCommand(archive, remote)
    yield (
        f"release=$({DJANGOCTL} {app} build --revision={revision} --version= --archive={remote} | "
        f"sed -n 's/^release: //p') && rm {remote} && "
        f"{DJANGOCTL} {app} migrate $release && {DJANGOCTL} {app} activate $release"
    )


for names in RESOURCES["packages"]:
    apt.packages(name=f"Install {names[0]}...", packages=names, **APT)

for user in RESOURCES["users"]:
    server.user(
        name=f"Create {user['name']}",
        user=user["name"],
        home=user["home"],
        shell=user["shell"],
        comment=user["comment"],
        system=True,
        ensure_home=False,
    )

entries = [(entry["path"], put(entry)) for entry in RESOURCES["entries"]]

server.shell(
    name="Restart the journal",
    commands=["systemctl restart systemd-journald"],
    _if=changed(entries, "/etc/systemd/journald"),
)
server.shell(
    name="Load the firewall",
    commands=["nft -c -f /etc/nftables.conf", "nft -f /etc/nftables.conf"],
    _if=changed(entries, "/etc/nftables"),
)
server.shell(
    name="Set the kernel settings",
    commands=["/usr/lib/systemd/systemd-sysctl --strict /etc/sysctl.d/60-djangofleet.conf"],
    _if=changed(entries, "/etc/sysctl.d"),
)

apps = [
    json.loads((DIRECTORY / f"files/etc/djangofleet/{item['app']}/app.json").read_text())
    for item in RESOURCES["releases"]
]
for uv in {app["uv"] for app in apps}:
    installed(
        name="Install uv",
        path=uv,
        commands=[
            f"python3 -m venv {Path(uv).parents[1]}",
            f"PIP_CERT=/etc/ssl/certs/ca-certificates.crt {Path(uv).parent}/pip install --quiet "
            "--disable-pip-version-check --require-hashes -r /usr/lib/djangofleet/requirements/uv.txt",
        ],
    )

for item in RESOURCES["releases"]:
    release(
        name=f"Release {item['app']}",
        app=item["app"],
        revision=item["revision"],
        archive=str(DIRECTORY / "source.tar.gz"),
    )

signed = [("", authority(name="Authority", directory=AUTHORITY, common_name="djangofleet"))]
signed += [
    (
        "",
        certificate(
            name=f"Certificate {app['name']}",
            directory=f"{CERTIFICATES}/{app['name']}",
            domains=app["domains"],
        ),
    )
    for app in apps
]

server.shell(
    name="Test and reload Nginx",
    commands=["nginx -t -q", "systemctl reload-or-restart nginx"],
    _if=changed([*(pair for pair in entries if pair[0].startswith("/etc/nginx")), *signed], ""),
)
for service in RESOURCES["services"]:
    systemd.service(name=f"Run {service}", service=service, running=True, enabled=True)
