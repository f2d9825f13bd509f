"""One id from Nginx to Django's log, no secrets, and no line lost when the log turns over."""

import json
import threading
import uuid

import pytest
from answers import send
from shared.outside import PROVE, hosts_of, within

testinfra_hosts = [f"ansible://{name}" for name in hosts_of("edge")]

LOG = "/var/log/nginx/access.log"


def entries(host, text: str) -> list[dict]:
    """The lines of the access log that have a text."""
    return [json.loads(line) for line in host.run("grep -F %s %s", text, LOG).stdout.splitlines()]


def entry_of(host, request_id: str) -> dict:
    within(lambda: entries(host, request_id) != [], 5, f"a line with {request_id}")
    (found,) = entries(host, request_id)
    return found


def test_one_id_from_nginx_to_django_s_log(host, browse):
    answer = browse("guestbook.test").get("/about/")
    request_id = answer.headers["X-Request-ID"]
    assert request_id in answer.data.decode()
    entry = entry_of(host, request_id)
    assert (entry["status"], entry["uri"], entry["method"]) == (200, "/about/", "GET")
    (access,) = [
        json.loads(line)
        for line in host.check_output("journalctl -u django-guestbook -o cat -n 500 --no-pager").splitlines()
        if request_id in line
    ]
    assert (access["logger"], access["path"]) == ("guestbook.access", "/about/")


def test_what_a_line_says(host, browse):
    answer = browse("guestbook.test").get("/healthz")
    entry = entry_of(host, answer.headers["X-Request-ID"])
    assert entry["tls"] == "TLSv1.3"
    assert entry["tls_cipher"].startswith("TLS_")
    assert float(entry["upstream_response_time"]) >= 0
    assert entry["release"] == json.loads(answer.data)["release"] != ""
    page = browse("guestbook.test").get("/static/none")
    assert entry_of(host, page.headers["X-Request-ID"])["release"] == "", "Nginx has answered"


def test_an_id_of_just_anybody_is_not_kept(address):
    (found,) = send(address, "pages.test", "/x", X_Request_ID="mine").all("X-Request-ID")
    assert len(found) == 32


def test_the_release_is_the_live_one(host, browse):
    found = entry_of(host, browse("guestbook.test").get("/healthz").headers["X-Request-ID"])["release"]
    assert found == host.check_output("basename $(readlink /srv/guestbook/current)")


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("token=s3cret", "token=***"),
        ("a=1&reset_token=s3cret&b=2", "a=1&reset_token=***&b=2"),
        ("password=s3cret&code=s3cret;user%5Bkey%5D=s3cret", "password=***&code=***"),
        ("%74oken=s3cret", "%74oken=***"),
        ("&".join(["token=s3cret"] * 20), "***"),
        # Nginx gives up a pattern that takes too long, and logs what it should have masked.
        ("?%41" * 1800 + "&token=s3cret", "?%41" * 1800 + "&token=***"),
        ("keyword=a&postcode=b", "keyword=a&postcode=b"),
    ],
)
def test_secrets_are_not_in_the_log(host, address, query, shown):
    answer = send(address, "pages.test", f"/x?{query}", Referer=f"https://elsewhere.test/a?{query}")
    entry = entry_of(host, answer.all("X-Request-ID")[0])
    assert entry["uri"] == f"/x?{shown}"
    assert entry["referer"] == f"https://elsewhere.test/a?{shown}"
    # The app gets what was sent.
    assert json.loads(answer.text)["path"] == f"/x?{query}"


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_the_method_is_the_visitor_s(host, address, method):
    """On its way to a page that is a file, a request becomes a GET."""
    answer = send(address, "gone.test", "/", method, b"a=b")
    assert (answer.status, entry_of(host, answer.all("X-Request-ID")[0])["method"]) == (502, method)


def test_no_line_is_lost_when_the_log_turns_over(host, address):
    """Twice under load: the second time what was renamed first is compressed."""
    mark, counts, going = uuid.uuid4().hex, [], threading.Event()
    going.set()

    def visit() -> None:
        sent = 0
        while going.is_set():
            assert send(address, "pages.test", f"/x?{mark}").status == 200
            sent += 1
        counts.append(sent)

    visitors = [threading.Thread(target=visit) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    try:
        for _turn in range(5 if PROVE else 2):
            host.check_output("logrotate --force /etc/logrotate.d/nginx")
    finally:
        going.clear()
        for visitor in visitors:
            visitor.join()
    assert len(counts) == 4

    def logged() -> int:
        return int(host.check_output(f"zcat -f {LOG}* | grep -c {mark}"))

    within(lambda: logged() == sum(counts), 5, f"{sum(counts)} lines")
    assert min(counts) > 0
    assert host.file(LOG).user == "www-data"
    assert host.file(LOG).mode == 0o640
    assert host.check_output(f"find {LOG}.2.gz -size +0")
