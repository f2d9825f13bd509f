"""The other ways a project comes: as a wheel, with a lock file, with no more than a pyproject.toml."""

import re

# packaged


def test_wheel_runs_without_a_source(host, facts):
    found = facts("packaged")
    assert found["version"] == "2.3.0"
    assert re.search(r"/venvs/\w+/lib/python3\.\d+/site-packages/noticeboard/__init__\.py$", found["module"])
    assert host.check_output("find /srv/packaged/current/source -type f") == ""


def test_wheel_is_served_by_asgi(facts):
    found = facts("packaged")
    assert found["request"] == "ASGIRequest"
    assert found["loop"] is True
    assert found["wsgi"] is False  # there is nothing else that it could be served by


def test_static_files_of_a_wheel_are_published(browse):
    (url,) = re.findall(r'href="(/static/noticeboard/board\.[0-9a-f]{12}\.css)"', browse("packaged.test").text("/"))
    answer = browse("packaged.test").get(url)
    assert (answer.status, answer.data) == (200, b"body { background: #c96; }\n")
    assert "immutable" in answer.headers["Cache-Control"]


def test_django_commands_work_without_manage_py(host):
    assert re.search(r"^5\.2\.\d+$", host.check_output("djangoctl packaged manage version"), re.MULTILINE)


# locked


def test_locked_versions_are_installed_exactly(facts, locked):
    found = facts("locked", "/")["installed"]
    for name in ("asgiref", "django", "sqlparse"):
        assert found[name] == locked[name]


def test_lock_file_decides_and_not_the_ranges_beside_it(facts, record):
    """`pyproject` asks for the same range of Django without a lock file and gets a newer one."""
    assert facts("locked", "/")["installed"]["django"] == "5.2.8"
    assert tuple(map(int, record("pyproject")["django"].split("."))) > (5, 2, 8)


def test_development_dependencies_stay_away(facts, locked):
    assert "iniconfig" in locked
    assert "iniconfig" not in facts("locked", "/")["installed"]


def test_gunicorn_is_added_where_nothing_asks_for_it(facts, locked):
    assert "gunicorn" not in locked
    assert int(facts("locked", "/")["installed"]["gunicorn"].split(".")[0]) >= 27


def test_listens_on_tcp(host, browse):
    """On that address and on no other, and not on a Unix socket."""
    assert host.socket("tcp://127.0.0.1:9001").is_listening
    assert not host.file("/run/djangofleet/locked.sock").exists
    ask = "curl --silent --max-time 5 --output /dev/null --write-out '%{http_code}' --header Host:locked.test http://"
    assert host.run(ask + "127.0.0.1:9001").stdout == "200"
    assert browse("locked.test").get("/").status == 200
    address = host.check_output("hostname --ip-address").split()[0]
    assert host.run(f"{ask}{address}:9001").rc == 7  # refused


def test_worker_class_and_number_as_given(host, facts):
    found = facts("locked", "/")
    assert (found["threads"], found["processes"]) == (False, True)  # sync, and more than one
    master = host.check_output("systemctl show --property=MainPID --value django-locked.service")
    assert len(host.check_output("pgrep --parent %s", master).split()) == 2


def test_settings_and_application_are_found_in_manage_py(facts, record):
    assert facts("locked", "/")["settings"] == "shopfront.settings"
    assert record("locked")["application"] == "shopfront.wsgi:application"


def test_database_is_migrated_where_the_contract_says(host, facts):
    assert facts("locked", "/")["users"] == 0  # and no "no such table"
    assert host.file("/srv/locked/data/db.sqlite3").user == "django-locked"


# pyproject


def test_a_name_a_domain_and_a_source_are_enough(facts, record):
    found = facts("pyproject", "/")
    assert found["settings"] == "timetable.settings.site"
    assert record("pyproject")["application"] == "timetable.wsgi:application"
    assert found["django"] == record("pyproject")["django"]


def test_package_in_src_is_installed(facts):
    """Where manage.py is, nothing could import it from src/."""
    where = facts("pyproject", "/")["module"]
    assert re.search(r"/venvs/\w+/lib/python3\.\d+/site-packages/timetable/__init__\.py$", where)


def test_neither_static_files_nor_a_database_are_needed(facts, browse, record):
    found = facts("pyproject", "/")
    assert found["apps"] == []
    assert found["engine"] == "django.db.backends.dummy"
    assert record("pyproject")["database"] is False
    assert browse("pyproject.test").get("/static/anything.css").status == 404
