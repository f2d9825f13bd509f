"""The JSON API."""

import json

from django.test import Client, TestCase

from entries.api import MAX_BODY_BYTES
from entries.models import Entry

URL = "/api/entries/"


class CreateTests(TestCase):
    def setUp(self):
        self.client = Client(enforce_csrf_checks=True)

    def post_json(self, body):
        content = body if isinstance(body, (str, bytes)) else json.dumps(body)
        return self.client.post(URL, content, content_type="application/json")

    def test_takes_json_and_forms_without_a_token(self):
        data = {"name": "A script", "message": "Hello 雪.", "reference": "run-1"}
        encoded = "application/x-www-form-urlencoded"
        for how, response in (
            ("json", self.post_json(data)),
            ("multipart", self.client.post(URL, data)),
            ("form", self.client.post(URL, "name=A+script&message=Hello+雪.&reference=run-1", content_type=encoded)),
        ):
            with self.subTest(how):
                self.assertEqual(response.status_code, 201, response.content)
                entry = Entry.objects.get(pk=response.json()["id"])
                self.assertEqual({name: getattr(entry, name) for name in data}, data)
        self.assertEqual(Entry.objects.filter(reference="run-1").count(), 3)  # doubles are seen, not hidden

    def test_refuses_in_json(self):
        cases = [
            (self.post_json({"name": "A script"}), 400, "message"),
            (self.post_json({"name": "A script", "message": "x" * 1001}), 400, "message"),
            (self.post_json({"name": "A script", "message": "x", "reference": "r" * 65}), 400, "reference"),
            (self.post_json({"name": ["A script"], "message": "x"}), 400, "body"),
            (self.post_json("[]"), 400, "body"),
            (self.post_json("{"), 400, "body"),
            (self.post_json(b"\xff"), 400, "body"),
            (self.post_json(" " * (MAX_BODY_BYTES + 1)), 413, "body"),
            (self.post_json(" " * 3_000_000), 413, "body"),
            (self.client.post(URL, "x", content_type="text/plain"), 415, "body"),
            (self.client.post(URL, {}), 400, "name"),
        ]
        for number, (response, status, field) in enumerate(cases):
            with self.subTest(number):
                self.assertEqual(response.status_code, status)
                self.assertIn(field, response.json()["errors"])
        self.assertFalse(Entry.objects.exists())

    def test_other_methods(self):
        self.assertEqual(self.client.delete(URL).status_code, 405)


class ListTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        Entry.objects.bulk_create(Entry(name=f"n{i}", message=f"m{i}", reference=f"run-{i % 3}") for i in range(120))

    def get(self, **query):
        response = self.client.get(URL, query)
        self.assertEqual(response.status_code, 200)
        self.assertIn("no-store", response["Cache-Control"])
        return response.json()

    def test_newest_first_and_limited(self):
        body = self.get()
        self.assertEqual((body["count"], len(body["entries"])), (120, 100))
        newest = Entry.objects.first()
        self.assertEqual(body["entries"][0], {"id": newest.pk, "name": "n119", "message": "m119", "reference": "run-2"})

    def test_pages_by_id(self):
        first = self.get(limit=80)["entries"]
        second = self.get(limit=80, before=first[-1]["id"])["entries"]
        self.assertEqual([entry["name"] for entry in first + second], [f"n{i}" for i in reversed(range(120))])

    def test_finds_references(self):
        body = self.get(reference="run-1", limit=5)
        self.assertEqual((body["count"], len(body["entries"])), (40, 5))
        self.assertEqual({entry["reference"] for entry in body["entries"]}, {"run-1"})
        self.assertEqual(self.get(reference_prefix="run-")["count"], 120)
        self.assertEqual(self.get(reference_prefix="un-")["count"], 0)

    def test_nonsense_is_refused(self):
        for query in ({"limit": "x"}, {"limit": "-1"}, {"before": "x"}, {"before": "9" * 30}):
            with self.subTest(query=query):
                self.assertEqual(self.client.get(URL, query).status_code, 400)
