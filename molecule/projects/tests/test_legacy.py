"""A project with ways of its own in everything, deployed twice: first its tag, then its branch with a change."""

import hashlib
import re

import pytest

HASHED = re.compile(r"\.[0-9a-f]{12}\.")


# What it is configured with


def test_variables_of_its_own_refer_to_the_contract(host, facts):
    found = facts("legacy")
    secret = host.check_output("cut -d= -f2- /etc/djangofleet/legacy/secret")
    assert len(secret) > 40
    assert found["secret_digest"] == hashlib.sha256(secret.encode()).hexdigest()
    assert found["hosts"] == ["legacy.test", "www.legacy.test"]
    assert found["origins"] == ["https://legacy.test", "https://www.legacy.test"]


def test_other_dollars_in_a_variable_stay_as_they_are(facts):
    assert facts("legacy")["price"] == "${CURRENCY} 5 or $10"


def test_the_secret_outlives_a_release(facts, before):
    assert facts("legacy")["secret_digest"] == before["secret_digest"]


def test_added_settings_file_arrives_word_by_word(facts):
    found = facts("legacy")
    assert found["site_name"] == "The old archive"
    assert found["motto"] == "{{ quieta }} non 'movere' ${SECRET_KEY} é"


def test_added_settings_file_is_for_the_app_only(host):
    """The app has just answered from it."""
    path = "/srv/legacy/current/source/src/legacy/settings/local_settings.py"
    assert host.run("setpriv --reuid=nobody --regid=nogroup --clear-groups cat %s", path).rc != 0
    assert (host.file(path).user, host.file(path).mode) == ("root", 0o640)


# What it is built of


def test_project_in_a_subdirectory_runs_with_the_settings_named(host, facts, record):
    assert host.file("/srv/legacy/current/source/src/manage.py").is_file
    assert not host.file("/srv/legacy/current/source/manage.py").exists
    assert record("legacy")["settings_module"] == "legacy.settings.production"  # manage.py names another
    assert facts("legacy")["debug"] is False


def test_included_requirements_are_installed(host, record):
    """Django itself is only in the file that production.txt includes."""
    assert "Django" not in host.file("/srv/legacy/current/source/requirements/production.txt").content_string
    assert re.fullmatch(r"5\.2\.\d+", record("legacy")["django"])


def test_requirement_without_a_wheel_is_compiled(host, facts):
    """One from the index would be tagged manylinux; the extension module has to be there and to work."""
    tags = re.findall("^Tag: (.+)$", facts("legacy")["xxhash"], re.MULTILINE)
    assert tags
    assert all(re.fullmatch(r"cp3\d+-cp3\d+-linux_\w+", tag) for tag in tags), tags
    assert host.run("ls /srv/legacy/current/venv/lib/python3*/site-packages/xxhash/_xxhash.*.so").rc == 0


def test_its_own_gunicorn_serves(facts, host):
    assert facts("legacy")["server"] == "gunicorn/23.0.0"
    assert "23.0.0" in host.check_output("/srv/legacy/current/venv/bin/gunicorn --version")


def test_system_package_serves_at_run_time(before, facts):
    """The kind of a document is found out by file(1), its checksum by the compiled requirement."""
    assert before["documents"][-1][1:] == ["text/plain", "22a1ce4240814d8a"]
    assert facts("legacy")["documents"][: len(before["documents"])] == before["documents"]


# What it serves


def test_uploads_outlive_a_release(host, browse, before, facts):
    assert facts("legacy")["edition"] == before["edition"] + 1
    url = before["documents"][-1][0]
    assert url.startswith("/uploads/documents/")
    assert browse("legacy.test").text(url) == "Nothing gold can stay"
    assert host.file("/srv/legacy/current/source/src/public/uploads").linked_to == "/srv/legacy/media"
    assert host.file("/srv/legacy/media/" + url.removeprefix("/uploads/")).is_file


def test_upload_lands_in_the_shared_directory(host, browse):
    answer = browse("legacy.test").request(
        "POST", "/documents/", fields={"file": ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>\n")}
    )
    assert answer.status == 201, answer.data[:500]
    made = answer.json()
    assert made["kind"] == "image/svg+xml"
    assert browse("legacy.test").text(made["url"]).startswith("<svg")
    assert host.file("/srv/legacy/media/" + made["url"].removeprefix("/uploads/")).user == "django-legacy"


def test_page_names_hashed_files_from_the_manifest(browse, facts):
    page = browse("legacy.test").text("/")
    found = facts("legacy")
    assert re.fullmatch(r"/assets/archive/site\.[0-9a-f]{12}\.css", found["stylesheet"])
    assert f'href="{found["stylesheet"]}"' in page
    assert f'href="{found["bundle"]}"' in page


def test_static_is_served_by_nginx_from_the_published_directory(host, browse, facts):
    url = facts("legacy")["stylesheet"]
    host.check_output("systemctl stop django-legacy.socket django-legacy.service")
    try:
        answer = browse("legacy.test").get(url)
    finally:
        host.check_output("systemctl start django-legacy.socket django-legacy.service")
    assert answer.status == 200
    assert b"color: #222" in answer.data
    assert answer.headers["Content-Type"].startswith("text/css")
    assert "immutable" in answer.headers["Cache-Control"]
    # The names of files inside of a style sheet are hashed as well.
    (inner,) = re.findall(rb'url\("(paper\.[0-9a-f]{12}\.svg)"\)', answer.data)
    assert browse("legacy.test").text(f"/assets/archive/{inner.decode()}").startswith("<svg")


def test_what_the_hook_builds_is_published(host, browse, facts):
    """The bundle is put together after collectstatic and named by its content, as its manifest says at run time."""
    url = facts("legacy")["bundle"]
    assert re.fullmatch(r"/assets/bundles/site\.[0-9a-f]{12}\.css", url)
    answer = browse("legacy.test").get(url)
    assert answer.status == 200
    assert b"page-break-before" in answer.data
    assert b"color: #222" in answer.data
    assert "immutable" in answer.headers["Cache-Control"]
    assert host.file(f"/srv/legacy/static/{url.removeprefix('/assets/')}").is_file


def test_what_the_hook_builds_is_compressed(browse, facts):
    answer = browse("legacy.test").get(
        facts("legacy")["bundle"], headers={"Accept-Encoding": "gzip"}, decode_content=False
    )
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Content-Length"]  # a file that lies there, and no stream that is compressed on the way


@pytest.mark.parametrize("link", ["stylesheet", "bundle"])
def test_static_of_the_release_before_still_answers(browse, before, facts, link):
    assert before[link] != facts("legacy")[link]
    answer = browse("legacy.test").get(before[link])
    assert answer.status == 200
    assert b"color: #111" in answer.data


# What it writes


def test_shared_directory_outlives_a_release(host, before, facts):
    """Written by the first release in its tree, and read by the second in its own."""
    name = before["documents"][-1][0].removeprefix("/uploads/")
    assert name in before["daybook"]
    assert facts("legacy")["daybook"][: len(before["daybook"])] == before["daybook"]
    assert host.file("/srv/legacy/current/source/var").linked_to == "/srv/legacy/shared/var"
    assert f"received {name}" in host.file("/srv/legacy/shared/var/log/legacy.log").content_string


def test_shared_directory_begins_with_what_the_source_has_there(host):
    assert "day book" in host.file("/srv/legacy/shared/var/README").content_string


def test_shared_file_outlives_a_release(host, before, facts):
    """The database is a single file in the tree."""
    assert before["documents"]
    assert facts("legacy")["documents"][: len(before["documents"])] == before["documents"]
    assert host.file("/srv/legacy/current/source/src/db.sqlite3").linked_to == "/srv/legacy/shared/src/db.sqlite3"
    assert host.file("/srv/legacy/shared/src/db.sqlite3").is_file


def test_tag_and_branch_are_two_releases(host, record):
    live = host.check_output("basename $(readlink /srv/legacy/current)")
    assert live.startswith("production-")
    assert host.run("ls -d /srv/legacy/releases/v1.0-*").rc == 0
    assert record("legacy")["state"] == "good"
