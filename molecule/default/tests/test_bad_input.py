"""Bad input stops a run with the variable's path, what was found and what to do, and what served keeps serving."""

import copy
import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from shared.outside import PROVE, ROOT, Browser, address_of, hosts_of, play

in_full = pytest.mark.skipif(not PROVE, reason="unit tests see the same: make prove has it")
GUESTBOOK = ROOT / "examples" / "guestbook"
HOSTS = hosts_of("default", gate=13)
APPS = yaml.safe_load((ROOT / "molecule/default/inventory/group_vars/all.yml").read_text())["django_apps"]


def apps(**changes) -> list[dict]:
    """The scenario's apps, with some keys of the first one changed."""
    first, second = copy.deepcopy(APPS)
    return [{**first, **changes}, second]


@cache
def authority_of(name: str) -> str:
    """The certificate of a host's authority, in a file."""
    path = f"{ROOT}/build/default/{name}.pem"
    subprocess.run(["docker", "cp", f"{name}:/etc/djangofleet/authority/ca.pem", path], check=True)
    return path


def answer_of_hosts() -> list:
    """What every site of every host says, and which release says it."""
    seen = []
    for name in HOSTS:
        # It ends with 6 where an app serves nothing, as one that has never been live.
        state = subprocess.run(
            ["docker", "exec", name, "djangoctl", "--json"], capture_output=True, text=True, check=False
        )
        for domain, trusted in (
            ("guestbook.test", authority_of(name)),
            ("second.test", f"{ROOT}/build/default/second.pem"),
        ):
            health = json.loads(Browser(address_of(name), domain, trusted).text("/healthz"))
            seen.append((name, domain, health["status"], health["release"]))
        known = {app["app"]: (app["release"], app["restart_pending"]) for app in json.loads(state.stdout)["apps"]}
        seen.append([known["guestbook"], known["second"]])
    return seen


def run(tmp_path, variables: dict, *words: str) -> str:
    """Run site.yml, which has to fail; returns what it said, in one line of single spaces."""
    given = tmp_path / "given.yml"
    given.write_text(yaml.safe_dump(variables))
    before = answer_of_hosts()
    result = play("default", "site.yml", f"--extra-vars=@{given}", f"--limit={','.join(HOSTS)}", *words)
    assert result.returncode != 0, result.stdout
    assert "PLAY [Ask the sites]" not in result.stdout, result.stdout
    assert answer_of_hosts() == before
    return " ".join(result.stdout.split())


BEFORE_ANYTHING = {
    "unknown key": (
        apps(gunicron={"workers": 2}),
        ["django_apps[guestbook].gunicron: is not known; did you mean 'gunicorn'?"],
    ),
    "unknown nested key": (
        apps(gunicorn={"wrokers": 2}),
        ["django_apps[guestbook].gunicorn.wrokers: is not known; did you mean 'workers'?"],
    ),
    "unknown key of the site": (
        apps(nginx={"max_body": "3m"}),
        ["django_apps[guestbook].nginx.max_body: is not known"],
    ),
    "wrong type": (apps(domains={"a": "b"}), ["django_apps[guestbook].domains: found", "give a list of texts"]),
    "wrong type of a number": (
        apps(gunicorn={"timeout": "soon"}),
        ["django_apps[guestbook].gunicorn.timeout: found 'soon'; give a whole number"],
    ),
    "no source": (
        apps(source={}),
        ["django_apps[guestbook].source: found 'none of them'", "exactly one of git, path and package"],
    ),
    "domain used by two apps": (
        apps(domains=["SECOND.test"]),
        ["django_apps[].domains", "second.test", "each app needs its own"],
    ),
    "name that is no unit name": (apps(name="my shop!"), ["django_apps[my shop!].name", "lower-case letters"]),
    "name of a stand-in": (apps(name="second-next"), ["django_apps[second-next].name", "not ending in -next"]),
    "domain with a port": (
        apps(domains=["guestbook.test:443"]),
        ["django_apps[guestbook].domains[0]", "guestbook.test:443", "host name"],
    ),
    "source that is not there": (
        apps(source={"path": "/nowhere"}),
        ["django_apps[guestbook].source.path", "/nowhere"],
    ),
    "no app at all": ([], ["nginx_sites, nginx_app_sites: are empty", "guestbook", "nginx_allow_no_sites: true"]),
    "no list": ({"guestbook": APPS[0]}, ["django_apps: found", "give a list"]),
    "key that is not there": (
        apps(certificate={"source": "files", "key_file": "/nowhere.key", "chain_file": "/nowhere.pem"}),
        ["certificate_app_certificates[guestbook]", "/nowhere"],
    ),
}


# One of each way to be found out. Unit tests see the texts of the others.
FOUND = ("unknown nested key", "source that is not there", "no app at all", "key that is not there")


@pytest.mark.parametrize("case", BEFORE_ANYTHING if PROVE else FOUND)
def test_stops_before_anything_changes(tmp_path, case):
    changed, wanted = BEFORE_ANYTHING[case]
    said = run(tmp_path, {"django_apps": changed})
    assert "PLAY [Install the packages]" not in said
    for text in wanted:
        assert text in said


@pytest.fixture
def pair(tmp_path):
    """pair(name, days) -> (key file, chain file) of a self-signed certificate that ends so many days from now."""

    def make(name: str, days: int = 30) -> tuple[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.DNSName("guestbook.test"), x509.DNSName("www.guestbook.test")])
        end = datetime.now(UTC) + timedelta(days=days)
        builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(end - timedelta(days=90)).not_valid_after(end).add_extension(names, False)
        (tmp_path / f"{name}.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
        (tmp_path / f"{name}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return str(tmp_path / f"{name}.key"), str(tmp_path / f"{name}.pem")

    return make


def test_key_that_does_not_fit_its_chain(tmp_path, pair):
    (key, _), (_, chain) = pair("one"), pair("other")
    files = {"source": "files", "key_file": key, "chain_file": chain}
    said = run(tmp_path, {"django_apps": apps(certificate=files)})
    assert "certificate_app_certificates[guestbook].key_file" in said
    assert "PLAY [Install the packages]" not in said


def test_expired_certificate(tmp_path, pair):
    key, chain = pair("old", days=-1)
    files = {"source": "files", "key_file": key, "chain_file": chain}
    said = run(tmp_path, {"django_apps": apps(certificate=files)})
    assert "certificate_app_certificates[guestbook].chain_file" in said
    assert "expired" in said
    assert "PLAY [Install the packages]" not in said


BEFORE_GOING_LIVE = {
    "missing wsgi module": (
        {"wsgi": "shop.wsgi:application"},
        ["django_apps[guestbook].wsgi", "shop.wsgi", "guestbook.wsgi:application"],
    ),
    "missing requirements file": (
        {"requirements": "requirements/prod.txt"},
        [
            "django_apps[guestbook].requirements",
            "requirements/prod.txt",
            "set it to one of: pyproject.toml, requirements.txt",
        ],
    ),
    "missing project directory": (
        {"project_dir": "src"},
        ["django_apps[guestbook].project_dir", "'src' is not a directory"],
    ),
    "wrong settings module": (
        {"settings_module": "guestbook.production"},
        ["cannot be imported", "guestbook.production"],
    ),
    "source that cannot be fetched": (
        {"source": {"git": "file:///nowhere.git", "version": "v1"}},
        ["django_apps[guestbook].source.git", "file:///nowhere.git", "could not be fetched"],
    ),
    "package that is not there": (
        {"source": {"package": "djangofleet-no-such-package==1.0"}, "wsgi": "a.wsgi", "settings_module": "a.settings"},
        ["django_apps[guestbook].source.package", "could not be installed"],
    ),
    "health that is not given": (
        {"health": {"path": "/healthz", "contains": "excellent"}},
        ["did not pass its gate", "excellent"],
    ),
}


# One that does not build, and one that builds and does not answer.
STEPS = ("package that is not there", "health that is not given")


@pytest.mark.parametrize("case", BEFORE_GOING_LIVE if PROVE else STEPS)
def test_stops_before_going_live(tmp_path, case):
    changes, wanted = BEFORE_GOING_LIVE[case]
    if case == "health that is not given":  # another release, so that there is something to put live
        changes = {**changes, "source": {"path": str(GUESTBOOK), "version": "sick"}}
    # On one distribution or the other in turn: what is refused there does not depend on it.
    host = HOSTS[list(BEFORE_GOING_LIVE).index(case) % len(HOSTS)]
    said = run(tmp_path, {"django_apps": apps(**changes)}, "--tags=app", f"--limit={host}")
    for text in wanted:
        assert text in said


def test_failing_migration(tmp_path):
    project = tmp_path / "project"
    shutil.copytree(GUESTBOOK, project)
    migrations = project / "entries" / "migrations"
    last = sorted(path.stem for path in migrations.glob("0*.py"))[-1]
    (migrations / "9999_fails.py").write_text(
        "from django.db import migrations\n\n\n"
        "def fail(apps, schema_editor):\n    raise RuntimeError('this migration fails')\n\n\n"
        "class Migration(migrations.Migration):\n"
        f"    dependencies = [('entries', '{last}')]\n"
        "    operations = [migrations.RunPython(fail)]\n"
    )
    some = [] if PROVE else [f"--limit={HOSTS[0]}"]
    said = run(tmp_path, {"django_apps": apps(source={"path": str(project)})}, "--tags=app", *some)
    assert "a migration of release" in said
    assert "this migration fails" in said


@pytest.fixture
def small_disk():
    """A third app's directory is a disk of 40 MB."""
    for name in HOSTS:
        command = "mkdir -p /srv/third && mount -t tmpfs -o size=40m tmpfs /srv/third"
        subprocess.run(["docker", "exec", name, "sh", "-c", command], check=True)
    yield
    for name in HOSTS:
        command = "umount /srv/third; rm -rf /srv/third /etc/djangofleet/third /etc/systemd/system/django-third*"
        subprocess.run(["docker", "exec", name, "sh", "-c", command], check=True)


@pytest.mark.parametrize(
    ("space", "wanted"),
    [
        pytest.param(
            500, "40 MB free, a release needs 500 MB (django_minimum_free_space)", id="foreseen", marks=in_full
        ),
        pytest.param(1, "No space left on device", id="not foreseen"),
    ],
)
def test_full_disk(tmp_path, small_disk, space, wanted):
    third = {"name": "third", "domains": ["third.test"], "source": {"path": str(GUESTBOOK)}}
    variables = {"django_apps": [*apps(), third], "django_minimum_free_space": space}
    assert wanted in run(tmp_path, variables, "--tags=app").replace("41 MB", "40 MB")


def test_good_run_after_all_of_this_succeeds():
    before = answer_of_hosts()
    result = play("default", "site.yml", "--tags=app", f"--limit={','.join(HOSTS)}")
    assert result.returncode == 0, result.stdout
    assert answer_of_hosts() == before
