"""The pages, as a visitor's browser sees them."""

import os
import platform
import re
import socket
from pathlib import Path
from unittest import mock

import django
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client, TestCase, TransactionTestCase, override_settings

from entries import forms
from entries.models import MAX_MESSAGE_LENGTH, Entry
from entries.stats import count_entries, get_stats
from entries.views import PER_PAGE

from .helpers import picture

HOSTILE = """<script>alert("1")</script> {{ 7|add:7 }} 'quoted' 雪 \u202e"""


class FormTests(TestCase):
    def setUp(self):
        self.client = Client(enforce_csrf_checks=True)

    def post(self, **data):
        page = self.client.get("/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.content.decode())[1]
        return self.client.post("/", {"csrfmiddlewaretoken": token, **data})

    def test_post_is_stored_and_shown(self):
        response = self.post(name="A visitor", message="Was here.\nTwice.")
        self.assertRedirects(response, "/")
        entry = Entry.objects.get()
        self.assertEqual((entry.name, entry.message.split()), ("A visitor", ["Was", "here.", "Twice."]))
        page = self.client.get("/")
        self.assertContains(page, "Was here.")
        self.assertContains(page, f'data-entry="{entry.pk}"')

    def test_reload_after_post_does_not_write_again(self):
        response = self.post(name="A visitor", message="Once.")
        self.client.get(response["Location"])
        self.client.get(response["Location"])
        self.assertEqual(Entry.objects.count(), 1)

    def test_post_without_token_is_refused_with_an_explanation(self):
        response = self.client.post("/", {"name": "A visitor", "message": "No token."})
        self.assertContains(response, "This form has expired", status_code=403)
        self.assertFalse(Entry.objects.exists())

    def test_post_from_another_site_is_refused(self):
        page = self.client.get("/", secure=True)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.content.decode())[1]
        data = {"csrfmiddlewaretoken": token, "name": "A visitor", "message": "From elsewhere."}
        for origin, status in (("https://elsewhere.test", 403), ("https://guestbook.test", 302)):
            with self.subTest(origin=origin):
                response = self.client.post("/", data, secure=True, headers={"origin": origin})
                self.assertEqual(response.status_code, status)
        self.assertEqual(Entry.objects.count(), 1)

    def test_hostile_text_is_shown_as_text(self):
        self.post(name=HOSTILE[:80], message=HOSTILE)
        self.assertEqual(Entry.objects.get().message, HOSTILE)
        page = self.client.get("/")
        self.assertNotContains(page, "<script>alert")
        self.assertContains(page, "&lt;script&gt;alert")
        self.assertContains(page, "{{ 7|add:7 }}")

    def test_bad_input_is_refused_in_words(self):
        cases = [
            ({"name": "", "message": "Hello."}, "Please say who you are."),
            ({"name": "A visitor", "message": "  \n "}, "Please write a line or two."),
            ({"name": "A visitor", "message": "x" * (MAX_MESSAGE_LENGTH + 1)}, "The message has 1001 characters"),
            ({"name": "x" * 81, "message": "Hello."}, "at most 80 characters"),
            ({"name": "nul\0l", "message": "Hello."}, "Null characters are not allowed."),
        ]
        for data, expected in cases:
            with self.subTest(expected=expected):
                response = self.post(**data)
                self.assertContains(response, expected)
                self.assertContains(response, 'role="alert"')
        self.assertFalse(Entry.objects.exists())

    def test_refused_form_keeps_what_was_typed_and_marks_the_field(self):
        response = self.post(name="", message="Please keep me.")
        self.assertContains(response, "Please keep me.</textarea>")
        field = re.search(r'<input[^>]+id="id_name"[^>]*>', response.content.decode())[0]
        self.assertIn('aria-invalid="true"', field)
        self.assertIn('aria-describedby="id_name_error"', field)
        self.assertContains(response, 'id="id_name_error"')

    def test_longest_message_is_accepted(self):
        self.post(name="A visitor", message="x" * MAX_MESSAGE_LENGTH)
        self.assertEqual(len(Entry.objects.get().message), MAX_MESSAGE_LENGTH)


class UploadTests(TestCase):
    def upload(self, image):
        return self.client.post("/", {"name": "A visitor", "message": "Look.", "image": image})

    def test_upload_comes_back(self):
        for format, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("GIF", "gif")):
            with self.subTest(format=format):
                image = picture(format)
                self.assertRedirects(self.upload(image), "/")
                entry = Entry.objects.first()
                self.assertEqual((entry.image_width, entry.image_height), (8, 6))
                address = re.search(r'<img src="(/media/[^"]+)"', self.client.get("/").content.decode())[1]
                self.assertRegex(address, rf"^/media/entries/\d{{4}}/\d\d/[0-9a-f]{{32}}\.{suffix}$")
                stored = Path(settings.MEDIA_ROOT) / address.removeprefix("/media/")
                image.seek(0)
                self.assertEqual(stored.read_bytes(), image.read())

    def test_web_server_may_read_the_upload_under_a_tight_umask(self):
        before = os.umask(0o077)
        self.addCleanup(os.umask, before)
        with self.settings(MEDIA_ROOT=f"{settings.MEDIA_ROOT}/tight"):
            self.upload(picture())
            stored = Path(Entry.objects.get().image.path)
            self.assertEqual(stored.stat().st_mode & 0o777, 0o644)
            for directory in list(stored.parents)[:3]:
                self.assertEqual(directory.stat().st_mode & 0o777, 0o755, directory)

    def test_name_and_suffix_are_ours(self):
        self.upload(picture("JPEG", name="../../evil.html.png"))
        self.assertRegex(Entry.objects.get().image.name, r"^entries/\d{4}/\d\d/[0-9a-f]{32}\.jpg$")

    def test_what_is_no_picture_is_refused(self):
        for name, content in (("a.png", b"no picture"), ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>")):
            with self.subTest(name=name):
                response = self.upload(SimpleUploadedFile(name, content, "image/png"))
                self.assertEqual(response.status_code, 200)
                self.assertTrue(response.context["form"].errors["image"])
        self.assertFalse(Entry.objects.exists())

    def test_other_formats_are_refused(self):
        self.assertContains(self.upload(picture("BMP", name="a.png")), "This is a BMP picture")
        self.assertFalse(Entry.objects.exists())

    def test_too_many_bytes_are_refused(self):
        image = picture()
        large = SimpleUploadedFile("a.png", image.read() + b"\0" * forms.MAX_IMAGE_BYTES, "image/png")
        self.assertContains(self.upload(large), "at most 2.0\u00a0MB are accepted")
        self.assertFalse(Entry.objects.exists())

    def test_too_many_pixels_are_refused(self):
        self.assertContains(self.upload(picture(size=(6000, 5000))), "The picture measures 6000 × 5000 pixels")
        self.assertFalse(Entry.objects.exists())


class PictureDeletionTests(TransactionTestCase):
    def test_picture_goes_with_its_entry(self):
        self.client.post("/", {"name": "A visitor", "message": "Look.", "image": picture()})
        entry = Entry.objects.get()
        stored = Path(entry.image.path)
        self.assertTrue(stored.exists())
        entry.delete()
        self.assertFalse(stored.exists())


class ListTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        Entry.objects.bulk_create(Entry(name=f"Visitor {i}", message=f"Message {i}.") for i in range(2 * PER_PAGE + 3))

    def test_newest_first_in_pages(self):
        names = []
        for number, length in ((1, PER_PAGE), (2, PER_PAGE), (3, 3)):
            found = re.findall(r"<h3>(Visitor \d+)</h3>", self.client.get(f"/?page={number}").content.decode())
            self.assertEqual(len(found), length)
            names += found
        self.assertEqual(names, [f"Visitor {i}" for i in reversed(range(2 * PER_PAGE + 3))])

    def test_nonsense_page_numbers_lead_somewhere(self):
        for page, number in (("x", 1), ("-1", 3), ("999", 3), ("", 1)):
            with self.subTest(page=page):
                self.assertEqual(self.client.get("/", {"page": page}).context["page"].number, number)

    def test_methods(self):
        self.assertEqual(self.client.head("/").status_code, 200)
        response = self.client.put("/")
        self.assertEqual((response.status_code, response["Allow"]), (405, "GET, HEAD, POST"))

    def test_empty_book_invites(self):
        Entry.objects.all().delete()
        self.assertContains(self.client.get("/"), "The first page is still blank")


class StatsTests(TransactionTestCase):
    """Not in a transaction of the test, for the figures are forgotten when one is committed."""

    def setUp(self):
        cache.clear()

    def stats(self) -> tuple[int, int]:
        stats = self.client.get("/").context["stats"]
        return stats["entries"], stats["pictures"]

    def test_figures_come_from_the_cache_and_the_list_does_not(self):
        self.assertEqual(self.stats(), (0, 0))
        Entry.objects.bulk_create([Entry(name="Silent", message="Sends no signal.")])
        self.assertEqual(self.stats(), (0, 0))
        self.assertContains(self.client.get("/"), "Sends no signal.")

    def test_every_way_of_writing_makes_them_new(self):
        self.assertEqual(self.stats(), (0, 0))
        self.client.post("/", {"name": "A visitor", "message": "By the form.", "image": picture()})
        self.assertEqual(self.stats(), (1, 1))
        self.client.post("/api/entries/", {"name": "A script", "message": "By the API."})
        self.assertEqual(self.stats(), (2, 1))
        self.assertIn("> 2 signatures, 1 picture <", " ".join(self.client.get("/").content.decode().split()))
        Entry.objects.last().delete()
        self.assertEqual(self.stats(), (1, 0))

    def test_slow_reader_cannot_bring_old_figures_back(self):
        def count_then_somebody_writes():
            counted = count_entries()
            Entry.objects.create(name="Meanwhile", message="Written after the count, before it is stored.")
            return counted

        with mock.patch("entries.stats.count_entries", side_effect=count_then_somebody_writes):
            self.assertEqual(get_stats(), {"entries": 0, "pictures": 0})
        self.assertEqual(self.stats(), (1, 0))

    def test_page_and_form_work_without_the_cache(self):
        with override_settings(
            CACHES={
                "default": {
                    "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
                    "LOCATION": __file__,  # a file where a directory is needed
                }
            }
        ):
            response = self.client.post("/", {"name": "A visitor", "message": "Without a cache."})
            self.assertEqual(response.status_code, 302)
            self.assertEqual(self.stats(), (1, 0))


class AboutTests(TestCase):
    def test_says_what_served_it(self):
        response = self.client.get("/about/", headers={"x-request-id": "a-given.id_1"})
        for attribute, value in (
            ("release", "test-release"),
            ("host", socket.gethostname()),
            ("request-id", "a-given.id_1"),
            ("python", platform.python_version()),
            ("django", django.get_version()),
            ("database", connection.vendor),
            ("cache", "FileBasedCache"),
        ):
            with self.subTest(attribute=attribute):
                self.assertContains(response, f"<dd data-{attribute}>{value}</dd>", count=1)
        self.assertIn("no-store", response["Cache-Control"])

    def test_every_page_names_release_and_host(self):
        self.assertContains(self.client.get("/"), "<dd>test-release</dd>")


class AdminTests(TestCase):
    def setUp(self):
        self.client.force_login(get_user_model().objects.create_superuser("admin", password="test"))

    def test_list_searches_and_shows_thumbnails(self):
        self.client.post("/", {"name": "With a picture", "message": "Look.", "image": picture()})
        self.client.post("/", {"name": "Somebody else", "message": "Nothing to see.", "reference": "r-17"})
        self.client.get("/")  # takes the two thank-yous
        found = self.client.get("/admin/entries/entry/", {"q": "With a"})
        self.assertContains(found, 'height="48"', count=1)
        self.assertNotContains(found, "Somebody else")
        self.assertContains(self.client.get("/admin/entries/entry/", {"q": "r-17"}), "Somebody else")

    def test_same_rules_for_pictures(self):
        self.client.post("/", {"name": "With a picture", "message": "Look.", "image": picture()})
        entry = Entry.objects.get()
        kept = entry.image.name
        address = f"/admin/entries/entry/{entry.pk}/change/"
        self.assertContains(self.client.get(address), 'height="240"')
        form = {"name": "Renamed", "message": "Look."}
        response = self.client.post(address, {**form, "image": picture("BMP")})
        self.assertContains(response, "This is a BMP picture")
        self.assertEqual(self.client.post(address, form).status_code, 302)
        entry.refresh_from_db()
        self.assertEqual((entry.name, entry.image.name), ("Renamed", kept))


class ErrorPageTests(TestCase):
    def test_not_found(self):
        self.assertContains(self.client.get("/nothing/here"), "This page was never written", status_code=404)

    def test_server_error_names_the_request(self):
        self.client.raise_request_exception = False
        with mock.patch("entries.views.get_stats", side_effect=RuntimeError("boom")):
            response = self.client.get("/", headers={"x-request-id": "find-me"})
        self.assertContains(response, "<code data-request-id>find-me</code>", status_code=500)
        self.assertNotContains(response, "boom", status_code=500)
        self.assertEqual(response["X-Request-ID"], "find-me")

    def test_server_error_without_a_page_still_names_the_request(self):
        self.client.raise_request_exception = False
        with mock.patch("entries.views.render", side_effect=RuntimeError("no templates")):
            response = self.client.get("/", headers={"x-request-id": "find-me"})
        self.assertContains(response, "Request id: find-me", status_code=500)

    def test_favicon(self):
        self.assertRedirects(
            self.client.get("/favicon.ico"), "/static/entries/img/favicon.svg", fetch_redirect_response=False
        )
