"""The site as a visitor sees it."""

import io
import json
import re
import uuid

import pytest
from PIL import Image


def picture() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(content, "PNG")
    return content.getvalue()


def rows(host, query: str) -> list:
    """What a query gives, asked of the database file itself and not of the app."""
    program = (
        "import json, sqlite3, sys; print(json.dumps(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchall()))"
    )
    return json.loads(host.check_output("python3 -c %s /srv/guestbook/data/db.sqlite3 %s", program, query))


def shown(page: str, what: str) -> str:
    return re.search(rf"data-{what}>([^<]*)<", page)[1]


def test_page_renders(browse):
    page = browse("guestbook.test").text("/")
    assert "<form" in page
    assert re.search(r'href="/static/[^"]+\.[0-9a-f]{12}\.css"', page)


def test_page_shows_release_host_and_request(host, name, browse):
    answer = browse("guestbook.test").get("/about/")
    page = answer.data.decode()
    assert shown(page, "release") == host.check_output("basename $(readlink /srv/guestbook/current)")
    assert shown(page, "host") == name
    assert shown(page, "request-id") == answer.headers["X-Request-ID"]


def test_request_id_of_a_client_is_replaced(browse):
    answer = browse("guestbook.test").get("/about/", headers={"X-Request-ID": "forged"})
    assert answer.headers.getlist("X-Request-ID") == [shown(answer.data.decode(), "request-id")]
    assert answer.headers["X-Request-ID"] != "forged"


def test_form_lands_in_the_database(host, browse):
    reference = uuid.uuid4().hex
    browser = browse("guestbook.test")
    answer = browser.submit("/", {"name": "Ada é", "message": "from the form", "reference": reference})
    assert answer.status == 302
    assert rows(host, f"select name, message from entries_entry where reference = '{reference}'") == [
        ["Ada é", "from the form"]
    ]
    assert "from the form" in browser.text("/")


def test_form_without_csrf_token_is_refused(host, browse):
    reference = uuid.uuid4().hex
    fields = {"name": "Eve", "message": "forged", "reference": reference}
    assert browse("guestbook.test").request("POST", "/", fields=fields).status == 403
    assert rows(host, f"select * from entries_entry where reference = '{reference}'") == []


def test_upload_comes_back(browse):
    browser, content = browse("guestbook.test"), picture()
    assert (
        browser.submit("/", {"name": "Ada", "message": "look", "image": ("a.png", content, "image/png")}).status == 302
    )
    url = re.search(r'src="(/media/[^"]+\.png)"', browser.text("/"))[1]
    answer = browser.get(url)
    assert answer.data == content
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_upload_beyond_the_limit_is_refused_by_nginx(browse):
    answer = browse("guestbook.test").request("POST", "/", body=b"x" * 3_200_000)
    assert answer.status == 413


@pytest.fixture
def stopped_app(host):
    """Django is not there: whatever answers now is Nginx alone."""
    host.check_output("systemctl stop django-guestbook.socket django-guestbook.service")
    yield
    host.check_output("systemctl start django-guestbook.socket django-guestbook.service")


def test_hashed_static_files_are_served_without_django(host, browse, request):
    browser = browse("guestbook.test")
    url = re.search(r'href="(/static/[^"]+\.[0-9a-f]{12}\.css)"', browser.text("/"))[1]
    request.getfixturevalue("stopped_app")
    answer = browser.get(url)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert browser.get("/").status == 502


def test_plain_static_files_are_cached_for_thirty_days(browse):
    answer = browse("guestbook.test").get("/static/entries/css/site.css")
    assert answer.status == 200
    assert "max-age=2592000" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_static_files_are_sent_compressed(browse, encoding):
    browser = browse("guestbook.test")
    url = re.search(r'href="(/static/[^"]+\.[0-9a-f]{12}\.css)"', browser.text("/"))[1]
    plain = browser.get(url, headers={"Accept-Encoding": "identity"}, decode_content=False)
    packed = browser.get(url, headers={"Accept-Encoding": encoding}, decode_content=False)
    assert packed.headers["Content-Encoding"] == encoding
    assert len(packed.data) < len(plain.data)


def test_static_miss_does_not_reach_django(host, browse):
    name = f"{uuid.uuid4().hex}.css"
    assert browse("guestbook.test").get(f"/static/{name}").status == 404
    line = host.check_output(f"grep {name} /var/log/nginx/access.log | tail -n 1")
    assert json.loads(line)["upstream_addr"] == ""


def test_spoofed_address_is_not_believed(host, browse):
    marker = uuid.uuid4().hex
    browse("guestbook.test").get(f"/about/?{marker}", headers={"X-Forwarded-For": "192.0.2.66"})
    line = host.check_output(f"grep {marker} /var/log/nginx/access.log | tail -n 1")
    assert "192.0.2.66" not in json.loads(line)["remote_addr"]


def test_app_listens_on_nothing_but_its_socket(host):
    listening = [line.split()[3].rsplit(":", 1) for line in host.check_output("ss -Hltn").splitlines()]
    assert {port for address, port in listening if address != "127.0.0.11"} == {
        "80",
        "443",
    }  # .11: Docker's own resolver


def test_other_users_cannot_reach_the_app_past_nginx(host):
    program = "import socket; socket.socket(socket.AF_UNIX).connect('/run/djangofleet/guestbook.sock')"
    refused = host.run("setpriv --reuid=nobody --regid=nogroup --clear-groups python3 -c %s", program)
    assert "PermissionError" in refused.stderr
    allowed = host.run("setpriv --reuid=www-data --regid=www-data --clear-groups python3 -c %s", program)
    assert allowed.rc == 0, allowed.stderr
