"""What only staff may fetch: the web server sends it where Django says so."""

import csv
import io
import tempfile

from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.test import TestCase, override_settings

from entries.models import Entry


class ExportTests(TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        setting = override_settings(MEDIA_ROOT=holder.name)
        setting.enable()
        self.addCleanup(setting.disable)
        self.staff = get_user_model().objects.create_user("keeper", password="test", is_staff=True)
        self.visitor = get_user_model().objects.create_user("visitor", password="test")

    def export(self) -> str:
        said = io.StringIO()
        call_command("export", stdout=said)
        return said.getvalue().strip()

    def test_the_book_as_a_file(self):
        Entry.objects.create(name='A "name"', message="One,\ntwo", reference="r")
        name = self.export()
        self.assertRegex(name, r"^entries-\d{8}T\d{6}\.csv$")
        with default_storage.open(f"exports/{name}", "r") as file:
            head, row = csv.reader(io.StringIO(file.read()))
        self.assertEqual(head, ["id", "created_at", "name", "message", "reference"])
        self.assertEqual(row[2:], ['A "name"', "One,\ntwo", "r"])

    def test_staff_get_it_by_the_web_server(self):
        name = self.export()
        self.client.force_login(self.staff)
        response = self.client.get(f"/exports/{name}")
        self.assertEqual((response.status_code, response.content), (200, b""))
        self.assertEqual(response["X-Accel-Redirect"], f"/media/exports/{name}")
        self.assertEqual(response["Content-Disposition"], f'attachment; filename="{name}"')
        self.assertNotIn("Content-Type", response)

    def test_nobody_else_does(self):
        name = self.export()
        for who in (None, self.visitor):
            with self.subTest(who=who):
                if who:
                    self.client.force_login(who)
                response = self.client.get(f"/exports/{name}")
                self.assertNotIn("X-Accel-Redirect", response)
                self.assertRedirects(response, f"/admin/login/?next=/exports/{name}")

    def test_names_are_encoded_for_the_web_server(self):
        default_storage.save("exports/Gäste 100%?#.csv", ContentFile(b"x"))
        self.client.force_login(self.staff)
        response = self.client.get("/exports/G%C3%A4ste%20100%25%3F%23.csv")
        self.assertEqual(response["X-Accel-Redirect"], "/media/exports/G%C3%A4ste%20100%25%3F%23.csv")
        self.assertTrue(response["Content-Disposition"].isascii())

    def test_only_what_is_there(self):
        default_storage.save("entries/secret.png", ContentFile(b"x"))
        self.client.force_login(self.staff)
        for name in (
            "none.csv",
            "..",
            "%2e%2e",
            "..%2Fentries%2Fsecret.png",
            "%2e%2e%5centries",
            ".",
            "a%00b",
            "a%0d%0ab",
        ):
            with self.subTest(name=name):
                self.assertEqual(self.client.get(f"/exports/{name}").status_code, 404)

    @override_settings(DEBUG=True)
    def test_development_has_no_web_server(self):
        name = self.export()
        self.client.force_login(self.staff)
        response = self.client.get(f"/exports/{name}")
        self.assertIn(b"created_at", b"".join(response.streaming_content))
        self.assertNotIn("X-Accel-Redirect", response)
