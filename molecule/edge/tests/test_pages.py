"""What visitors see when Nginx itself answers, and the page of a closed site."""

import json
import re

import pytest
from answers import send
from shared.outside import hosts_of

testinfra_hosts = [f"ansible://{name}" for name in hosts_of("edge")]

BIG = b"x" * 1_200_000
ERRORS = [
    ("GET", "/static/none", None, 404),
    ("GET", "/static/none.css", None, 404),
    ("DELETE", "/static/none", None, 405),
    ("POST", "/upload", BIG, 413),
    ("GET", "/limited", None, 429),
    ("GET", "/broken", None, 500),
    ("POST", "/broken", b"a=b", 500),
    ("GET", "/closed", None, 503),
    ("GET", "/slow/?sleep=2", None, 504),
    ("POST", "/slow/?sleep=2", b"a=b", 504),
]


@pytest.fixture(scope="module", autouse=True)
def room(host):
    host.check_output("mkdir -p /srv/pages/static /srv/pages/own")
    host.check_output(
        "for status in 403 405 502; do echo '<h1>Ours</h1>DJANGOFLEET-REQUEST-ID' > /srv/pages/own/$status.html; done"
    )
    host.check_output("chmod -R a+rX /srv/pages")


@pytest.mark.parametrize(("method", "target", "body", "status"), ERRORS)
def test_each_error_has_its_page(address, method, target, body, status):
    answer = send(address, "pages.test", target, method, body)
    assert answer.status == status
    assert answer.all("Content-Type") == ["text/html; charset=utf-8"]
    assert f'<p class="code">{status}</p>' in answer.text
    assert answer.all("X-Request-ID")[0] in answer.text
    assert not re.search(r"\$|https?:|nginx", answer.text), "a variable, another place, or who made it"
    assert answer.all("Cache-Control") == ["no-store"]
    assert bool(answer.all("Retry-After")) is (status in (429, 502, 503, 504))


def test_programs_get_json(address):
    answer = send(address, "pages.test", "/broken", Accept="application/json")
    assert (answer.status, answer.all("Content-Type")) == (500, ["application/json; charset=utf-8"])
    told = json.loads(answer.text)
    assert (told["status"], told["request_id"]) == (500, answer.all("X-Request-ID")[0])


@pytest.mark.parametrize("status", [404, 413, 500, 502, 503])
def test_what_the_app_answers_is_not_touched(address, status):
    answer = send(address, "pages.test", f"/x?status={status}")
    assert (answer.status, json.loads(answer.text)["port"]) == (status, 9101)


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", b"a=b"), ("PUT", b"x"), ("DELETE", None)])
def test_a_site_s_own_page_for_every_method(address, method, body):
    answer = send(address, "gone.test", "/", method, body)
    assert answer.status == 502
    assert answer.text.strip() == f"<h1>Ours</h1>{answer.all('X-Request-ID')[0]}"
    assert answer.all("Retry-After") == ["30"]


@pytest.mark.parametrize(
    ("method", "target", "status"), [("GET", "/denied/", 403), ("POST", "/denied/", 403), ("DELETE", "/read/", 405)]
)
def test_what_is_refused_gets_the_site_s_own_page(address, method, target, status):
    answer = send(address, "gone.test", target, method, b"a=b" if method == "POST" else None)
    assert (answer.status, answer.text.strip()) == (status, f"<h1>Ours</h1>{answer.all('X-Request-ID')[0]}")
    assert answer.all("Allow") == (["GET, HEAD"] if status == 405 else [])


@pytest.mark.parametrize("target", ["/x.php", "/.djangofleet/errors/403", "/.djangofleet/errors/default"])
def test_nobody_asks_for_a_page_by_its_address(address, target):
    answer = send(address, "gone.test", target)
    assert (answer.status, "Ours" in answer.text, "There is nothing here" in answer.text) == (404, False, True)


def test_a_page_that_is_not_there_is_ours(address):
    answer = send(address, "gone.test", "/missing")
    assert answer.status == 404
    assert "There is nothing here" in answer.text
    assert (
        send(address, "gone.test", "/", Accept="application/json").all("Content-Type")[0].startswith("application/json")
    )
    assert "Ours" not in send(address, "gone.test", "/.djangofleet/errors/502").text


def test_the_app_s_own_template_is_the_page_of_a_missing_file(browse):
    answer = browse("guestbook.test").get("/static/none.css")
    page = answer.data.decode()
    assert (answer.status, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "This page was never written" in page
    # It was rendered when the static files had their names already.
    (sheet,) = re.findall(r'href="(/static/[^"]+\.[0-9a-f]{12}\.css)"', page)
    assert browse("guestbook.test").get(sheet).status == 200


@pytest.fixture
def closed(host):
    host.check_output("djangoctl guestbook maintenance on --message 'Back at <9> & later'")
    host.check_output("cp /srv/guestbook/static/.maintenance.html /srv/pages/.maintenance.html")
    yield
    host.check_output("rm /srv/pages/.maintenance.html; djangoctl guestbook maintenance off")


def test_maintenance(address, browse, closed):
    browser = browse("guestbook.test")
    answer = browser.get("/")
    page = answer.data.decode()
    assert (answer.status, answer.headers["Retry-After"], answer.headers["Cache-Control"]) == (503, "120", "no-store")
    assert "The book is being bound" in page
    assert "Back at &lt;9&gt; &amp; later" in page
    assert answer.headers["X-Request-ID"] in page
    posted = browser.request("POST", "/", fields={"a": "b"})
    assert posted.status == 503
    assert b"Nothing of what you sent was kept" in posted.data
    program = browser.get("/api/entries/", headers={"Accept": "application/json"})
    assert (program.status, json.loads(program.data)["status"]) == (503, 503)
    assert send(address, "pages.test", "/", "HEAD").status == 503
