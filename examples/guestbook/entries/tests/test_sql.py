"""The id of a request in what the database is asked."""

from django.db import connection
from django.test import TestCase

from entries.models import Entry
from guestbook.logs import current_request_id
from guestbook.sql import add_request_id, watch


class StatementTests(TestCase):
    def statements(self, **headers) -> list[str]:
        """What the database gets for a page."""
        found = []

        def note(execute, sql, params, many, context):
            found.append(sql)
            return execute(sql, params, many, context)

        with connection.execute_wrapper(note):  # the innermost
            self.client.get("/about/", headers=headers)
            self.client.get("/healthz", headers=headers)
        return found

    def test_every_statement_of_a_request_names_it(self):
        statements = self.statements(**{"x-request-id": "Trace.1_2-3"})
        self.assertTrue(statements)
        for statement in statements:
            self.assertTrue(statement.endswith(" /* request_id=Trace.1_2-3 */"), statement)

    def test_an_id_that_could_end_the_comment_is_never_in_one(self):
        for given in ("*/ DROP TABLE entries_entry; --", "a*/b", "%s", "a'b", "a\nb"):
            for statement in self.statements(**{"x-request-id": given}):
                self.assertRegex(statement, r" /\* request_id=[0-9a-f]{32} \*/$")

    def test_outside_of_a_request_there_is_none(self):
        found = []
        with connection.execute_wrapper(lambda execute, sql, *words: found.append(sql) or execute(sql, *words)):
            Entry.objects.count()
        self.assertEqual(len(found), 1)
        self.assertNotIn("request_id", found[0])

    def test_parameters_and_many_rows_are_as_before(self):
        token = current_request_id.set("many")
        try:
            Entry.objects.bulk_create([Entry(name=f"%s {n}", message="100 %") for n in range(3)])
            self.assertEqual(Entry.objects.filter(name="%s 1", message__contains="100 %").count(), 1)
        finally:
            current_request_id.reset(token)

    def test_a_connection_is_watched_once(self):
        watch(connection)
        watch(connection)
        self.assertEqual(connection.execute_wrappers.count(add_request_id), 1)
