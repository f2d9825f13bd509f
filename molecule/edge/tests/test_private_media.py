"""Uploads that only the app hands out."""

import csv
import io
from urllib.parse import quote

import pytest
from answers import send
from shared.outside import hosts_of

testinfra_hosts = [f"ansible://{name}" for name in hosts_of("edge")]

ROOM = "/srv/pages/media"
POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"


@pytest.fixture(scope="module", autouse=True)
def files(host):
    host.check_output(
        f"mkdir -p {ROOM}/invoices/2026 && cd {ROOM} && echo public > b.txt && echo hello > invoices/a.txt"
    )
    host.check_output(
        f"cd {ROOM}/invoices && echo far > 'Rechnung Ä 100%?#.pdf' && echo deep > 2026/c.txt && echo d > .x"
    )
    host.check_output(
        f"cd {ROOM}/invoices && echo 'alert(1)' > a.js && ln -sf /etc/passwd link.txt && chmod -R a+rX {ROOM}"
    )


def handed(address: str, name: str, **headers: str):
    """What comes of an app that answers with this file."""
    return send(address, "pages.test", f"/x?header=X-Accel-Redirect:{quote(quote(name))}", **headers)


DIRECT = [
    *(
        "/media/invoices",
        "/media/invoices/",
        "/media/invoices/a.txt",
        "/media//invoices/a.txt",
        "/media/invoices//a.txt",
    ),
    *("/media/invoices%2Fa.txt", "/media%2Finvoices/a.txt", "/media/%69nvoices/a.txt", "/media/x/../invoices/a.txt"),
    *("/media/./invoices/a.txt", "/media/invoices/2026/c.txt", "/media/invoices/a.js", "/media/invoices/.x"),
    *("/media/invoices/none", "/media/invoices/a.txt/", "/media/invoices/a.txt?x=/", "/static/../media/invoices/a.txt"),
]


@pytest.mark.parametrize("target", DIRECT)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_direct_address_is_not_there(address, target, method):
    answer = send(address, "pages.test", target, method, b"" if method == "POST" else None)
    # Two readers may understand dots differently: such a path is refused before anybody looks for a file.
    assert answer.status == (400 if "/./" in target or "/../" in target else 404)
    assert "hello" not in answer.text


def test_what_is_not_private_is_there(address):
    assert send(address, "pages.test", "/media/b.txt").text == "public\n"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("/media/invoices/a.txt", "hello\n"),
        ("/media/invoices/2026/c.txt", "deep\n"),
        ("/media/invoices/Rechnung Ä 100%?#.pdf", "far\n"),
    ],
)
def test_the_app_hands_it_out(address, file, text):
    answer = handed(address, file)
    assert (answer.status, answer.text) == (200, text)
    assert answer.all("Content-Security-Policy") == [POLICY]
    assert answer.all("Cache-Control") == ["private, no-cache"]
    assert answer.all("X-Content-Type-Options") == ["nosniff"]
    assert not answer.all("X-Accel-Redirect")


def test_parts_and_what_the_browser_has_already(address):
    part = handed(address, "/media/invoices/a.txt", Range="bytes=1-2")
    assert (part.status, part.text, part.all("Content-Range")) == (206, "el", ["bytes 1-2/6"])
    (tag,) = handed(address, "/media/invoices/a.txt").all("ETag")
    assert handed(address, "/media/invoices/a.txt", If_None_Match=tag).status == 304


def test_the_app_may_say_how_long_it_is_kept(address):
    target = "/x?header=X-Accel-Redirect:/media/invoices/a.txt&header=Cache-Control:private,max-age%3D60"
    assert send(address, "pages.test", target).all("Cache-Control") == ["private,max-age=60"]


@pytest.mark.parametrize(
    ("file", "status"),
    [
        ("/media/invoices/../../../../etc/passwd", 404),
        ("/media/invoices/none", 404),
        ("/media/invoices/.x", 404),
        ("/media/invoices/link.txt", 403),
        ("/media/invoices/", 403),
    ],
)
def test_not_even_the_app_hands_out_what_is_no_upload(address, file, status):
    answer = handed(address, file)
    assert answer.status == status
    assert "root:" not in answer.text


@pytest.fixture
def swapped(host):
    """A link in place of the private directory: the app may write to the one above."""
    host.check_output(f"cd {ROOM} && mv invoices kept && ln -s /var/log/nginx invoices")
    yield
    host.check_output(f"cd {ROOM} && rm invoices && mv kept invoices")


def test_a_link_in_place_of_the_directory_leads_nowhere(address, swapped):
    answer = handed(address, "/media/invoices/access.log")
    assert (answer.status, "remote_addr" in answer.text) == (404, False)


@pytest.fixture
def staff(host):
    """The name of a file that `manage.py export` has written, and a login that may fetch it."""
    code = (
        "from django.contrib.auth import get_user_model as users; "
        "user, _new = users().objects.get_or_create(username='keeper', is_staff=True, is_superuser=True); "
        "user.set_password('of the edge'); user.save()"
    )
    host.check_output("djangoctl guestbook manage shell -c %s", code)
    return host.check_output("djangoctl guestbook manage export").split()[-1]


def test_the_guestbook_s_recipe(browse, staff):
    browser = browse("guestbook.test")
    assert browser.get(f"/media/exports/{staff}").status == 404
    assert browser.get(f"/exports/{staff}").status == 302
    login = f"/admin/login/?next=/exports/{staff}"
    assert browser.submit(login, {"username": "keeper", "password": "of the edge"}).status == 302
    answer = browser.get(f"/exports/{staff}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/csv")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{staff}"'
    assert next(csv.reader(io.StringIO(answer.data.decode())))[:2] == ["id", "created_at"]
    # Who has a login has no more of the address itself.
    assert browser.get(f"/media/exports/{staff}").status == 404
