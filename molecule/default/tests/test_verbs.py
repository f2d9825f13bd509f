"""What an operator asks of a running fleet, from the controller: how it is, what it has logged, one command."""

import json
import re

from shared.outside import play, within


def run(name: str, playbook: str, *words: str):
    """A playbook on this host alone: each of the scenario's is a site of its own."""
    return play("default", f"playbooks/{playbook}.yml", f"--limit={name}", *words)


def test_status_as_json(host, name):
    result = run(name, "status", "-e", "json=true")
    assert result.returncode == 0, result.stdout
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("{")]
    found = json.loads(line)
    assert (found["ok"], found["wrong"]) == (True, [])
    assert [row["host"] for row in found["hosts"]] == [name]
    rows = {row["app"]: row for row in found["apps"]}
    assert set(rows) == {"guestbook", "second"}
    for app, row in rows.items():
        assert row["serves"] is True, row
        assert row["release"] == host.check_output("basename $(readlink /srv/%s/current)", app)
        assert row["certificate_days"] > 0
    assert " changed=0 " in result.stdout


def test_status_of_an_app_that_does_not_serve(host, name):
    """Nobody visits it meanwhile: its socket would start it. The others are well, and shown."""
    host.check_output("systemctl stop django-guestbook.service")
    try:
        result = run(name, "status", "--check")
    finally:
        host.check_output("systemctl start django-guestbook.service")
    assert result.returncode != 0
    release = host.check_output("basename $(readlink /srv/guestbook/current)")
    row = rf"^guestbook +{re.escape(name)} +DOES NOT SERVE +{re.escape(release)} "
    assert re.search(row, result.stdout, re.MULTILINE), result.stdout
    assert re.search(rf"^second +{re.escape(name)} +serves", result.stdout, re.MULTILINE), result.stdout
    _shown, _title, reason = result.stdout.partition("TASK [Stop if something is wrong]")
    assert f"guestbook on {name}: does not serve: django-guestbook.service is not active" in " ".join(reason.split())


def test_a_request_is_found_in_the_logs_by_its_id(host, name, browse):
    browser = browse("guestbook.test")
    request_id, other = (browser.get("/about/").headers["X-Request-ID"] for _ in range(2))
    within(lambda: host.run("grep -q %s /var/log/nginx/access.log", other).rc == 0, 5, "a line of the access log")
    result = run(name, "logs", "-e", "app=guestbook", "-e", f"request={request_id}", "-e", "since=1 hour ago")
    assert result.returncode == 0, result.stdout
    lines = [line.split(None, 3) for line in result.stdout.splitlines() if request_id in line]
    assert {(on, source) for _time, on, source, _text in lines} == {
        (name, "nginx-access"),
        (name, "django-guestbook"),
    }
    (access,) = [json.loads(text) for _time, _on, source, text in lines if source == "nginx-access"]
    assert (access["uri"], access["status"]) == ("/about/", 200)
    assert other not in result.stdout


def test_manage_runs_in_the_app_s_sandbox(name):
    program = "import os, sys; print(os.environ['RELEASE_ID'], sys.stdin.read() == '', 6 * 7)"
    command = f'shell --verbosity=0 -c "{program}"'
    result = run(name, "manage", "-e", "app=guestbook", "-e", f"command={command}")
    assert result.returncode == 0, result.stdout
    assert re.search(r"^first-\w+ True 42$", result.stdout, re.MULTILINE), result.stdout
    assert re.search(r"^exit code 0$", result.stdout, re.MULTILINE)


def test_manage_fails_with_its_command(name):
    result = run(name, "manage", "-e", "app=guestbook", "-e", "command=migrat --plan")
    assert result.returncode != 0
    assert "Unknown command: 'migrat'" in result.stdout, result.stdout
    said = " ".join(result.stdout.split())
    assert f"{name}: djangoctl guestbook manage migrat --plan ended with 1" in said
