"""The real settings, in processes of their own, under the environment that a platform gives."""

import json
import re
import tempfile
from pathlib import Path

import django
from django.core.management import call_command
from django.test import SimpleTestCase, TestCase

from .helpers import PROJECT, production_environment, request, run


class ProductionTestCase(SimpleTestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.directory = holder.name

    def environment(self, **changes):
        return production_environment(self.directory, **changes)

    def value(self, expression: str, **changes):
        code = f"import json; from django.conf import settings; print(json.dumps({expression}))"
        result = run(self.environment(**changes), "-c", code)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)


class SettingsTests(ProductionTestCase):
    def test_what_is_missing_is_named(self):
        for name in ("SECRET_KEY", "DATABASE_URL", "CACHE_URL", "STATIC_ROOT", "MEDIA_ROOT"):
            for value in (None, ""):
                with self.subTest(name=name, value=value):
                    result = run(self.environment(**{name: value}), "manage.py", "check")
                    self.assertNotEqual(result.returncode, 0)
                    self.assertIn(f"ImproperlyConfigured: Missing in the environment: {name}. Set them", result.stderr)

    def test_debug_is_off_unless_asked_for_and_then_needs_nothing(self):
        self.assertEqual(self.value("settings.DEBUG"), False)
        code = "import django; django.setup(); from django.conf import settings; print(settings.DEBUG)"
        nothing = dict.fromkeys(self.environment())
        keep = {"PATH": "/usr/bin", "DJANGO_SETTINGS_MODULE": "guestbook.settings"}
        result = run(self.environment(**nothing | keep | {"DEBUG": "true"}), "-c", code)
        self.assertEqual(result.stdout, "True\n", result.stderr)

    def test_contract_is_read(self):
        self.assertEqual(self.value("settings.ALLOWED_HOSTS"), ["guestbook.test", "www.guestbook.test"])
        self.assertEqual(self.value("settings.CSRF_TRUSTED_ORIGINS"), ["https://guestbook.test"])
        self.assertEqual(self.value("settings.RELEASE_ID"), "20260101T000000-abcdef0")
        self.assertEqual(self.value("settings.STATIC_URL", STATIC_URL="https://cdn.test/s/"), "https://cdn.test/s/")
        self.assertEqual(self.value("settings.MEDIA_ROOT"), f"{self.directory}/media")

    def test_databases(self):
        sqlite = self.value("settings.DATABASES['default']")
        self.assertEqual(sqlite["NAME"], f"{self.directory}/db.sqlite3")
        self.assertEqual(sqlite["OPTIONS"]["transaction_mode"], "IMMEDIATE")
        postgresql = self.value(
            "settings.DATABASES['default']", DATABASE_URL="postgresql://u:p%40ss%2Fw@db.test:5433/book?sslmode=require"
        )
        self.assertEqual(postgresql["ENGINE"], "django.db.backends.postgresql")
        self.assertEqual([postgresql[key] for key in ("HOST", "PORT", "NAME", "USER")], ["db.test", 5433, "book", "u"])
        self.assertEqual(postgresql["PASSWORD"], "p@ss/w")
        self.assertEqual(postgresql["OPTIONS"], {"sslmode": "require", "connect_timeout": 5})
        self.assertEqual((postgresql["CONN_MAX_AGE"], postgresql["CONN_HEALTH_CHECKS"]), (60, True))

    def test_asgi_keeps_no_connections(self):
        expression = "__import__('guestbook.asgi') and settings.DATABASES['default']['CONN_MAX_AGE']"
        self.assertEqual(self.value(expression, DATABASE_URL="postgresql://u@db.test/book"), 0)

    def test_caches(self):
        redis = {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://cache.test:6379/1",
            "KEY_PREFIX": "",
        }
        self.assertEqual(self.value("settings.CACHES['default']", CACHE_URL="redis://cache.test:6379/1"), redis)
        self.assertEqual(
            self.value("settings.CACHES['default']", CACHE_URL=None, REDIS_URL="redis://cache.test:6379/1"), redis
        )
        self.assertEqual(self.value("settings.CACHES['default']['LOCATION']"), f"{self.directory}/cache")
        self.assertEqual(self.value("settings.CACHES['default']['KEY_PREFIX']", REDIS_PREFIX="book:"), "book:")

    def test_sqlite_is_in_wal_mode_and_waits(self):
        code = (
            "from django.db import connection; c = connection.cursor()\n"
            "print(*[c.execute(f'PRAGMA {p}').fetchone()[0] for p in ('journal_mode', 'busy_timeout')])"
        )
        result = request(self.environment(), code)
        self.assertEqual(result.stdout, "wal 20000\n", result.stderr)

    def test_deployment_check_is_clean(self):
        result = run(self.environment(), "manage.py", "check", "--deploy", "--fail-level", "INFO")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("System check identified no issues (0 silenced).", result.stdout + result.stderr)


class VisitTests(ProductionTestCase):
    def test_https_only_but_for_the_probe(self):
        code = (
            "plain = {'x-forwarded-proto': 'http'}\n"
            "r = client.get('/?page=2', headers=plain); print('VISIT', r.status_code, r['Location'])\n"
            "r = client.get('/healthz', headers=plain); print('VISIT', r.status_code)\n"
            "r = client.get('/healthz'); print('VISIT', r.status_code, r['Strict-Transport-Security'])\n"
            "r = client.get('/healthz', headers={'host': 'elsewhere.test'}); print('VISIT', r.status_code)\n"
        )
        result = request(self.environment(), code)
        self.assertEqual(
            re.findall(r"(?m)^VISIT (.*)$", result.stdout),
            [
                "301 https://guestbook.test/?page=2",
                "200",
                "200 max-age=63072000; includeSubDomains; preload",
                "400",
            ],
            result.stderr,
        )

    def test_hashed_files_and_pages_that_use_them(self):
        result = run(self.environment(), "manage.py", "collectstatic", "--no-input", "-v0")
        self.assertEqual(result.returncode, 0, result.stderr)
        static = Path(self.directory, "static")
        names = json.loads((static / "staticfiles.json").read_text())["paths"]
        style, flourish = (names[f"entries/{name}"] for name in ("css/site.css", "img/flourish.svg"))
        self.assertRegex(style, r"^entries/css/site\.[0-9a-f]{12}\.css$")
        self.assertIn(f'url("../img/{Path(flourish).name}")', (static / style).read_text())
        self.assertNotIn("flourish.svg", (static / style).read_text())

        self.assertEqual(run(self.environment(), "manage.py", "migrate", "-v0").returncode, 0)
        code = (
            "for path in ('/', '/about/', '/nothing', '/admin/login/'):\n"
            "    r = client.get(path); print('VISIT', r.status_code, r.get('Content-Security-Policy', '-'))\n"
            "    print(r.content.decode())\n"
            "    for cookie in r.cookies.values(): print('COOKIE', cookie['secure'])\n"
        )
        result = request(self.environment(), code)
        visits = re.findall(r"(?m)^VISIT (\d+) (.*)$", result.stdout)
        self.assertEqual([status for status, _ in visits], ["200", "200", "404", "200"], result.stderr)
        for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', result.stdout):
            self.assertRegex(address, r"\.[0-9a-f]{12}\.(css|js|svg)$")
            self.assertTrue((static / address.removeprefix("/static/")).exists(), address)
        self.assertIn(f"/static/{style}", result.stdout)
        self.assertEqual(set(re.findall(r"(?m)^COOKIE (.*)$", result.stdout)), {"True"})
        # Nothing inline, so that the policy may be as strict as it is.
        self.assertNotRegex(result.stdout, r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]* src=)|javascript:")
        for _, policy in visits:
            self.assertEqual("default-src 'none'" in policy, django.VERSION >= (6, 0))
            self.assertNotIn("unsafe", policy)

    def test_policy_admits_the_hosts_that_files_come_from(self):
        if django.VERSION < (6, 0):
            self.skipTest("Django writes the policy from 6.0 on")
        changes = {"STATIC_URL": "https://static.test/s/", "MEDIA_URL": "https://media.test/m/"}
        policy = self.value("settings.SECURE_CSP", **changes)
        self.assertEqual(policy["script-src"], ["'self'", "https://static.test"])
        self.assertLessEqual({"https://static.test", "https://media.test"}, set(policy["img-src"]))


class MigrationTests(TestCase):
    def test_models_and_migrations_agree(self):
        call_command("makemigrations", check=True, dry_run=True, verbosity=0)


class PackagingTests(SimpleTestCase):
    def test_requirements_agree_with_the_project_file(self):
        import tomllib

        project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
        lines = (PROJECT / "requirements.in").read_text().splitlines()
        self.assertEqual(sorted(project["dependencies"]), sorted(line for line in lines if line[:1] not in ("", "#")))

    def test_locked_requirements_are_hashed_and_name_no_place(self):
        text = (PROJECT / "requirements.txt").read_text()
        pins = re.findall(r"(?m)^([a-z0-9-]+)==\S+", text)
        self.assertLessEqual({"django", "django-environ", "pillow", "psycopg", "psycopg-binary", "redis"}, set(pins))
        self.assertNotIn("gunicorn", pins)
        self.assertNotRegex(text, r"://|--index-url|--find-links|file:")
        for block in re.split(r"\n(?=\S)", text.strip()):
            self.assertIn("--hash=sha256:", block)
