"""One app on two hosts with one database: built everywhere, migrated once, put live one after the other, or nowhere."""

import subprocess
from contextlib import contextmanager

import fleet
import pytest
from variants import BUILD, HELD, MOOD, NO_HELD, project, replace

FIRST, SECOND = fleet.HOSTS
HOLDERS = "select pid from pg_stat_activity where query like '%pg_sleep(120)%' and wait_event = 'PgSleep'"
in_full = pytest.mark.skipif(not fleet.PROVE, reason="unit tests see the same beside fakes: make prove has it")
SLEEPERS = "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(120)%'"


def publish(name: str, changes: dict[str, str]) -> None:
    """Commit a version of the ledger to its repository, with a tag."""
    clone = BUILD / "git" / "ledger"
    replace(clone, project(name, changes))
    git = ["git", "-C", str(clone), "-c", "user.name=fixture", "-c", "user.email=fixture@example.com"]
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", f"--message={name}"], check=True)
    subprocess.run([*git, "tag", "--force", name], check=True, capture_output=True)
    bare = BUILD / "git" / "ledger.git"
    subprocess.run([*git, "push", "--quiet", "--force", "--tags", str(bare), "main"], check=True)
    fleet.on(fleet.CLIENT, "rm", "-rf", "/srv/git/ledger.git")
    subprocess.run(["docker", "cp", str(bare), f"{fleet.CLIENT}:/srv/git/ledger.git"], check=True)
    fleet.on(fleet.CLIENT, "chown", "-R", "git:git", "/srv/git/ledger.git")


def release_log(host: str) -> str:
    return fleet.on(host, "sh", "-c", "cat /srv/ledger/current/*.log").stdout


def sql(statement: str) -> str:
    return fleet.on(fleet.CLIENT, "runuser", "-u", "postgres", "--", "psql", "-qtA", "ledger", "-c", statement).stdout


def versions() -> dict[str, str]:
    return fleet.both(lambda host: fleet.version(host, "ledger"))


@contextmanager
def table_held():
    """Somebody's transaction reads the table and does not end."""
    script = "begin; select count(*) from entries_entry; select pg_sleep(120);"
    words = ["docker", "exec", fleet.CLIENT, "runuser", "-u", "postgres", "--", "psql", "-q", "ledger", "-c", script]
    holder = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        fleet.wait(lambda: sql(f"select count(*) from ({HOLDERS}) as held").strip() == "1", 20, "the lock")
        yield
    finally:
        sql(SLEEPERS + " and pid <> pg_backend_pid()")
        holder.wait(timeout=30)


def deploy(name: str, *words: str, **options) -> subprocess.CompletedProcess[str]:
    return fleet.play("deploy", *words, app="ledger", ledger_version=name, **options)


def visitors():
    return fleet.visitors(app="ledger")


def test_check_mode_shows_the_plan_and_changes_nothing():
    publish("mood", MOOD)
    before = versions()
    kept = fleet.both(lambda host: fleet.ctl(host, "ledger", "releases"))
    result = deploy("mood", "--check")
    assert result.returncode == 0, result.stdout[-6000:]
    assert "entries.0002_mood" in result.stdout
    assert "Add field mood to entry" in result.stdout
    assert versions() == before
    assert fleet.both(lambda host: fleet.ctl(host, "ledger", "releases")) == kept
    assert sql("select count(*) from django_migrations where name = '0002_mood'").strip() == "0"


def test_migrates_once_and_activates_everywhere():
    with visitors():
        result = deploy("mood")
    assert result.returncode == 0, result.stdout[-6000:]
    assert set(versions().values()) == {"mood"}
    assert sql("select count(*) from django_migrations where name = '0002_mood'").strip() == "1"
    told = {host: release_log(host).count("told: before_migrate") for host in fleet.HOSTS}
    assert told == {FIRST: 1, SECOND: 0}, "the hooks of a migration run where it runs"
    for host in fleet.HOSTS:
        log = release_log(host)
        assert log.index("told: before_activate in mood-") < log.index("told: after_activate in mood-")


def test_deploy_key_is_on_no_host():
    key = (BUILD / "deploy_key").read_text().splitlines()[2]
    for host in fleet.HOSTS:
        places = ["/etc", "/srv/ledger/repo", "/root", "/run", "/tmp", "/var/log", "/var/tmp"]
        found = fleet.on(host, "grep", "-rlsF", "--", key, *places, check=False)
        assert found.stdout == "", found.stdout
        assert fleet.on(host, "sh", "-c", "ls -A /srv/ledger/repo").stdout


def test_migration_gives_up_waiting_for_a_lock():
    """The first host migrates, and when that fails the rollout stops there."""
    publish("held", HELD)
    with table_held(), visitors():
        result = deploy("held")
        assert sql(f"select count(*) from ({HOLDERS}) as held").strip() == "1", "it waited for the other transaction"
    assert result.returncode != 0
    assert "lock timeout" in result.stdout, result.stdout[-4000:]
    assert set(versions().values()) == {"mood"}


def test_failure_on_one_host_returns_the_others():
    """The migration has its lock now. The second host cannot reach health: the first one goes back to what served."""
    before = fleet.both(lambda host: fleet.served(host, "ledger"))
    health = f"{{{{ '/healthz' if inventory_hostname == '{FIRST}' else '/nowhere' }}}}"
    with visitors():
        result = deploy("held", ledger_health=health)
        assert result.returncode != 0
        assert fleet.both(lambda host: fleet.served(host, "ledger")) == before
    said = result.stdout
    assert f"{FIRST}: ledger to {before[FIRST]}" in said, said[-6000:]
    assert "GET /nowhere as ledger.test: answered 404" in said.replace("\\n", " "), (
        "the journal of the host that failed"
    )
    audit = fleet.on(FIRST, "cat", "/var/log/djangofleet/ledger.log").stdout.splitlines()
    assert ["held-" in audit[-2], before[FIRST] in audit[-1]] == [True, True], "it had been live there"
    assert sql("select count(*) from django_migrations where name = '0003_held'").strip() == "1"


def test_host_that_was_away_catches_up():
    """The first host goes ahead, as a deploy does that another host is away from."""
    kept = fleet.ctl(FIRST, "ledger", "releases")["releases"]
    (held,) = [entry["id"] for entry in kept if entry["version"] == "held"]
    fleet.ctl(FIRST, "ledger", "activate", held)
    assert versions() == {FIRST: "held", SECOND: "mood"}
    with visitors():
        result = deploy("held")
    assert result.returncode == 0, result.stdout[-6000:]
    assert set(versions().values()) == {"held"}


def test_destructive_migration_is_refused_until_it_is_allowed():
    publish("no-held", NO_HELD)
    with visitors():
        result = deploy("no-held")
        assert result.returncode != 0
        assert "entries.0004_no_held: Remove field held from entry" in result.stdout, result.stdout[-4000:]
        assert "allow_destructive_migrations=true" in result.stdout
        assert set(versions().values()) == {"held"}
        result = deploy("no-held", allow_destructive_migrations=True)
        assert result.returncode == 0, result.stdout[-4000:]
    assert set(versions().values()) == {"no-held"}


def test_rollback_behind_the_schema_is_refused_until_it_is_allowed():
    """Continues the test above: `no-held` is live, and `held` knows nothing of the column that is gone."""
    with visitors():
        result = fleet.play("rollback", app="ledger")
        assert result.returncode != 0
        assert "the database is ahead of release held-" in result.stdout, result.stdout[-4000:]
        assert "entries.0004_no_held" in result.stdout
        assert "allow_schema_ahead=true" in result.stdout
        assert set(versions().values()) == {"no-held"}
        # By its name this time: the one before the last, as it happens.
        held = fleet.ctl(FIRST, "ledger", "releases")["releases"]
        named = [entry["id"] for entry in held if entry["version"] == "held"][-1]
        result = fleet.play("rollback", app="ledger", release=named, allow_schema_ahead=True)
        assert result.returncode == 0, result.stdout[-4000:]
    assert set(versions().values()) == {"held"}


def test_rollback_is_one_release_on_all_hosts():
    """Continues the test above: the first host chooses for all, and one that lacks the release stops the run."""
    before = fleet.both(lambda host: fleet.served(host, "ledger"))
    chosen = fleet.ctl(FIRST, "ledger", "rollback", "--dry-run")["release"]
    # The release that was rolled back from is not chosen again, on either host.
    assert not chosen.startswith("no-held-")
    away = ["mv", f"/srv/ledger/releases/{chosen}", "/srv/ledger/away"]
    fleet.on(SECOND, *away)
    try:
        with visitors():
            result = fleet.play("rollback", app="ledger", allow_schema_ahead=True)
        assert result.returncode != 0
        assert f"ledger has no release '{chosen}'" in result.stdout, result.stdout[-4000:]
        assert fleet.both(lambda host: fleet.served(host, "ledger")) == before, "a host had gone back already"
    finally:
        fleet.on(SECOND, "mv", *reversed(away[1:]))


def secrets() -> dict[str, str]:
    return fleet.both(lambda host: fleet.on(host, "cat", "/etc/djangofleet/ledger/secret").stdout)


@in_full
def test_secret_key_is_made_once():
    """The scenario takes its hosts for sites of their own, so each has made a key. Visitors notice no change of it."""
    before = secrets()
    assert len(set(before.values())) == 2
    result = deploy("held", "-vvv", "--diff", allow_separate_hosts=False)
    assert result.returncode != 0
    assert f"{SECOND} has made another one than {FIRST}" in result.stdout.replace("\n", " "), result.stdout[-4000:]
    assert secrets() == before
    said = result.stdout + result.stderr
    with visitors():
        # The second host alone: the first one is asked all the same.
        result = deploy(
            *("held", "-vvv", "--diff", f"--limit={SECOND}"), allow_separate_hosts=False, allow_new_secrets=True
        )
    assert result.returncode == 0, result.stdout[-4000:]
    after = secrets()
    assert set(after.values()) == {before[FIRST]}
    said += result.stdout + result.stderr
    for value in before.values():
        assert value.strip().partition("=")[2] not in said, "the key is in the log of the run"
    (mode,) = set(
        fleet.both(lambda host: fleet.on(host, "stat", "-c", "%a %U", "/etc/djangofleet/ledger/secret").stdout).values()
    )
    assert mode.strip() == "600 root"
    key = fleet.environment_of(SECOND, "django-ledger.service")["SECRET_KEY"]
    assert f"SECRET_KEY={key}" == after[SECOND].strip(), "the service runs with the key of before"


@in_full
def test_check_mode_rehearses_with_what_would_be_written():
    """New code and the variable that it needs come in one run; neither is left behind."""
    publish("needy", {"guestbook/settings.py": "\nimport os\n\nNEEDED = os.environ['LEDGER_NEEDS']\n"})
    before = fleet.both(
        lambda host: (
            fleet.on(
                host, "sh", "-c", "md5sum /etc/djangofleet/ledger/env; ls -d /run/djangofleet*; ls -A /srv/ledger/*"
            ).stdout
        )
    )
    result = deploy("needy", "--check")
    assert result.returncode != 0
    assert "LEDGER_NEEDS" in result.stdout, result.stdout[-4000:]
    result = deploy("needy", "--check", ledger_environment={"LEDGER_NEEDS": "n33dy"})
    assert result.returncode == 0, result.stdout[-4000:]
    assert "would go live" in result.stdout
    assert "n33dy" not in result.stdout
    result = deploy("held", "--check", ledger_environment={"LEDGER_NEEDS": "n33dy"})
    assert result.returncode == 0, result.stdout[-4000:]
    assert "would restart with its new configuration" in result.stdout
    assert (
        fleet.both(
            lambda host: (
                fleet.on(
                    host, "sh", "-c", "md5sum /etc/djangofleet/ledger/env; ls -d /run/djangofleet*; ls -A /srv/ledger/*"
                ).stdout
            )
        )
        == before
    )
