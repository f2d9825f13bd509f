"""manage.py seed"""

import io
import os
from unittest import mock

from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import TestCase

from entries.management.commands.seed import SAMPLES
from entries.models import Entry

User = get_user_model()


def seed(username: str = "admin", password: str = "first-password") -> str:
    out = io.StringIO()
    given = {"DJANGO_SUPERUSER_USERNAME": username, "DJANGO_SUPERUSER_PASSWORD": password}
    with mock.patch.dict(os.environ, given):
        call_command("seed", stdout=out)
    return out.getvalue()


class SeedTests(TestCase):
    def test_creates_admin_and_entries(self):
        out = seed()
        self.assertIn("admin: created admin", out)
        self.assertTrue(self.client.login(username="admin", password="first-password"))
        self.assertEqual(self.client.get("/admin/entries/entry/").status_code, 200)
        self.assertEqual(Entry.objects.count(), len(SAMPLES))
        self.assertEqual(Entry.objects.exclude(image="").get().image_width, 960)
        for _, name, _, _ in SAMPLES:
            self.assertContains(self.client.get("/"), name)

    def test_second_run_changes_nothing(self):
        seed()
        before = list(Entry.objects.values()), list(User.objects.values())
        out = seed()
        self.assertEqual((list(Entry.objects.values()), list(User.objects.values())), before)
        self.assertIn("admin: admin is there already", out)
        self.assertIn(f"entries: 0 created, {len(SAMPLES)} there already", out)

    def test_what_is_missing_comes_back(self):
        seed()
        Entry.objects.get(reference="seed:static").delete()
        self.assertIn("entries: 1 created", seed())

    def test_given_password_is_the_one_that_works(self):
        seed()
        self.assertIn("set anew", seed(password="second-password"))
        self.assertTrue(self.client.login(username="admin", password="second-password"))

    def test_without_credentials_there_is_no_admin(self):
        self.assertIn("admin: skipped", seed("", ""))
        self.assertFalse(User.objects.exists())

    def test_half_of_the_credentials_is_an_error(self):
        with self.assertRaisesMessage(CommandError, "or neither"):
            seed("admin", "")

    def test_ordinary_user_is_not_promoted(self):
        User.objects.create_user("admin", password="theirs")
        with self.assertRaisesMessage(CommandError, "no active superuser"):
            seed()
        self.assertTrue(User.objects.get().check_password("theirs"))
        self.assertFalse(User.objects.get().is_superuser)
