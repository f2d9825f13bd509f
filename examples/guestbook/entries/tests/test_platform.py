"""What a platform relies on: health, request ids, logs, the slow page."""

import asyncio
import json
import logging
import re
import tempfile
import time
from pathlib import Path
from unittest import mock

from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import AsyncClient, SimpleTestCase, TestCase, override_settings

from entries.models import Entry
from guestbook.settings_test import LOG_STREAM

from .helpers import production_environment, request, run


def file_cache(location: str) -> dict:
    return {"default": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": location}}


class LogMixin:
    """Gives the tests what was logged since they began."""

    def setUp(self):
        super().setUp()
        self.log_start = LOG_STREAM.tell()

    def records(self, logger: str | None = None) -> list[dict]:
        lines = LOG_STREAM.getvalue()[self.log_start :].splitlines()
        records = [json.loads(line) for line in lines]  # every line is JSON, or this fails
        return [record for record in records if logger in (None, record["logger"])]


class HealthTests(LogMixin, TestCase):
    def test_ok(self):
        response = self.client.get("/healthz")
        self.assertEqual(response.status_code, 200)
        self.assertEqual(
            response.json(),
            {"status": "ok", "checks": {"database": "ok", "cache": "ok"}, "failed": [], "release": "test-release"},
        )
        self.assertIn("no-store", response["Cache-Control"])
        self.assertEqual(response.cookies, {})

    def test_leaves_nothing_in_the_cache(self):
        with tempfile.TemporaryDirectory() as directory, override_settings(CACHES=file_cache(directory)):
            self.assertEqual(self.client.get("/healthz").status_code, 200)
            self.assertEqual(list(Path(directory).iterdir()), [])

    def test_database_that_fails(self):
        with mock.patch.object(connection, "cursor", side_effect=OperationalError("secret-host refused")):
            response = self.client.get("/healthz")
        self.assertEqual(response.status_code, 503)
        self.assertEqual(response.json()["checks"], {"database": "failed", "cache": "ok"})
        self.assertEqual(response.json()["failed"], ["database"])
        self.assertNotContains(response, "secret-host", status_code=503)
        self.assertIn("secret-host refused", self.records("entries.views")[0]["exception"])

    def test_cache_that_fails(self):
        caches = {
            "raises": file_cache(__file__),  # a file where a directory is needed
            "forgets": {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}},
        }
        for how, setting in caches.items():
            with self.subTest(how), override_settings(CACHES=setting):
                response = self.client.get("/healthz")
                self.assertEqual(response.status_code, 503)
                self.assertEqual(response.json()["checks"], {"database": "ok", "cache": "failed"})

    def test_only_safe_methods(self):
        self.assertEqual(self.client.head("/healthz").status_code, 200)
        self.assertEqual(self.client.post("/healthz").status_code, 405)

    def test_missing_database_file_in_production(self):
        with tempfile.TemporaryDirectory() as directory:
            environment = production_environment(directory, DATABASE_URL=f"sqlite:///{directory}/none/db.sqlite3")
            result = request(environment, "r = client.get('/healthz'); print(r.status_code, r.content.decode())")
        self.assertRegex(result.stdout, r'(?m)^503 .*"failed": \["database"\]', result.stderr)


class RequestIdTests(LogMixin, TestCase):
    def test_valid_id_makes_the_round_trip(self):
        for given in ("a", "0123456789abcdef" * 8, "Trace.1_2-3"):
            with self.subTest(given=given):
                response = self.client.get("/about/", headers={"x-request-id": given})
                self.assertEqual(response["X-Request-ID"], given)
                self.assertEqual(self.records("guestbook.access")[-1]["request_id"], given)

    def test_hostile_id_is_replaced(self):
        hostile = ("", " ", "a b", "a" * 129, "<b>", 'a"b', "a;b", "a\nb", "a\r\nSet-Cookie: x=y", "é", "a\n")
        for given in hostile:
            with self.subTest(given=given):
                response = self.client.get("/about/", headers={"x-request-id": given})
                self.assertRegex(response["X-Request-ID"], r"\A[0-9a-f]{32}\Z")
                self.assertContains(response, f"<dd data-request-id>{response['X-Request-ID']}</dd>")

    def test_ids_differ(self):
        self.assertEqual(len({self.client.get("/healthz")["X-Request-ID"] for _ in range(5)}), 5)

    def test_under_asgi(self):
        async def both():
            client = AsyncClient()
            return await asyncio.gather(
                *(client.get("/about/", headers={"x-request-id": f"async-{i}"}) for i in range(3))
            )

        responses = asyncio.run(both())
        self.assertEqual([response["X-Request-ID"] for response in responses], ["async-0", "async-1", "async-2"])
        for i, response in enumerate(responses):
            self.assertContains(response, f"<dd data-request-id>async-{i}</dd>")
        self.assertEqual(
            {record["request_id"] for record in self.records("guestbook.access")}, {"async-0", "async-1", "async-2"}
        )


class LogTests(LogMixin, TestCase):
    def test_one_access_record_per_request(self):
        self.client.get("/about/?secret=1", headers={"x-request-id": "logged"})
        [record] = self.records()
        self.assertRegex(record.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$")
        self.assertGreaterEqual(record.pop("duration_ms"), 0)
        self.assertEqual(
            record,
            {
                "level": "INFO",
                "logger": "guestbook.access",
                "message": "GET /about/ 200",
                "request_id": "logged",
                "method": "GET",
                "path": "/about/",
                "status": 200,
            },
        )

    def test_records_within_a_request_carry_its_id(self):
        self.client.post("/", {"name": "A visitor", "message": "Hello."}, headers={"x-request-id": "mine"})
        [record] = self.records("entries.views")
        self.assertEqual((record["message"], record["request_id"]), (f"Entry {Entry.objects.get().pk} written", "mine"))

    def test_exception_is_one_line_with_its_traceback(self):
        self.client.raise_request_exception = False
        with mock.patch("entries.views.get_stats", side_effect=RuntimeError("boom\nsecond line")):
            self.client.get("/", headers={"x-request-id": "broken"})
        error, access = self.records()
        self.assertEqual((error["logger"], error["level"], error["status"]), ("django.request", "ERROR", 500))
        self.assertEqual((error["request_id"], error["method"], error["path"]), ("broken", "GET", "/"))
        self.assertRegex(error["exception"], re.compile(r"^Traceback .*boom\nsecond line$", re.S))
        self.assertEqual(access["status"], 500)

    def test_hostile_paths_stay_on_one_line(self):
        for path in ('/a"b', "/a%0Ab", "/%FF%FE", "/%E9%9B%AA"):
            self.client.get(path)
        self.assertEqual([record["status"] for record in self.records()], [404] * 4)

    def test_refused_host_is_logged(self):
        self.assertEqual(self.client.get("/", headers={"host": "elsewhere.test"}).status_code, 400)
        self.assertIn("django.security.DisallowedHost", {record["logger"] for record in self.records()})

    def test_outside_of_a_request_there_is_no_id(self):
        self.client.get("/healthz")
        logging.getLogger("entries").info("On its own")
        self.assertNotIn("request_id", self.records("entries")[0])

    def test_production_writes_to_standard_output(self):
        with tempfile.TemporaryDirectory() as directory:
            result = request(production_environment(directory), "client.get('/healthz')")
        [line] = result.stdout.splitlines()
        self.assertEqual(json.loads(line)["message"], "GET /healthz 200")
        self.assertEqual(result.stderr, "")


class SlowTests(SimpleTestCase):
    def test_sleeps(self):
        started = time.monotonic()
        response = self.client.get("/slow/?seconds=0.2")
        self.assertGreaterEqual(time.monotonic() - started, 0.2)
        self.assertEqual((response.json()["slept"], response.json()["release"]), (0.2, "test-release"))

    def test_has_a_ceiling(self):
        with mock.patch("entries.views.time.sleep") as sleep:
            self.client.get("/slow/?seconds=1e9")
        sleep.assert_called_once_with(15)

    def test_nonsense_is_refused(self):
        for seconds in ("x", "nan", "-1", ""):
            with self.subTest(seconds=seconds):
                self.assertEqual(self.client.get("/slow/", {"seconds": seconds}).status_code, 400)

    def test_is_not_there_unless_asked_for(self):
        with override_settings(DEMO_SLOW=False):
            self.assertEqual(self.client.get("/slow/?seconds=0").status_code, 404)
        with tempfile.TemporaryDirectory() as directory:
            code = "from django.conf import settings; print(settings.DEMO_SLOW)"
            self.assertEqual(run(production_environment(directory), "-c", code).stdout, "False\n")


class CacheIsRealTests(SimpleTestCase):
    def test_tests_run_on_the_platforms_default_cache(self):
        """The scheme filecache:// is what the platform gives when nothing is configured."""
        self.assertEqual(type(cache._connections[cache._alias]).__name__, "FileBasedCache")
