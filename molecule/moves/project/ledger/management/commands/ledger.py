"""`manage.py ledger fill <rows>` fills the tables, `manage.py ledger digest` says what is in them, as one line."""

import datetime
import decimal
import hashlib
import itertools
import json
import random
import time

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.base import BaseCommand
from django.db.models import Value
from django.db.models.fields.json import JSONField
from entries.models import Entry

from ledger.models import Booking, Place, Shop, Tag


def plain(value):
    """The same text for what the same value is in both databases."""
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    return value if isinstance(value, (dict, list)) else str(value)


class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("action", choices=["fill", "digest", "spoil", "mend", "next", "write"])
        parser.add_argument("rows", type=int, nargs="?", default=0)
        parser.add_argument("--prefix", default="")

    def handle(self, *args, **options):
        self.prefix = options["prefix"]
        self.stdout.write(getattr(self, options["action"])(options["rows"]) or "")

    def fill(self, rows):
        chance = random.Random(1)  # noqa: S311 — the same rows each time
        tags = [Tag.objects.get_or_create(name=f"tag-{number}")[0] for number in range(5)]
        shop = Shop.objects.create(name="a shop", opened=datetime.date(1999, 12, 31))
        entry = Entry.objects.create(name="of the ledger", message="ünïcode \U0001f600 'quoted' \\ back")
        made = Booking.objects.bulk_create(
            [
                Booking(
                    place_id=shop.key,
                    amount=decimal.Decimal(chance.randrange(10**11)) / 100,
                    took=datetime.timedelta(microseconds=chance.randrange(10**12)),
                    share=chance.random() * 10 ** chance.randrange(-300, 300),
                    paid=chance.random() < 0.5,
                    receipt=bytes([0, 255, number % 256, 92, 39]),
                    details={"ünï": [1, 2.50, None, True], "n": 12345678901234567890},
                    remark=chance.choice([None, Value(None, JSONField()), "text", 0, [], {"a": "\\u0041"}]),
                    address=chance.choice([None, "10.0.0.1", "2001:db8::1"]),
                    about=entry,
                )
                for number in range(rows)
            ],
            batch_size=500,
        )
        through = Booking.tags.through
        pairs = [through(booking_id=booking.pk, tag_id=chance.choice(tags).pk) for booking in made]
        through.objects.bulk_create(pairs, batch_size=500)
        last = Booking.objects.create(
            place=shop, amount=1, took=datetime.timedelta(0), share=0, receipt=b"", details=[]
        )
        last.delete()  # its key must never be given again

    def digest(self, _rows):
        """What a reader of the rows sees, apart from the order of the tables."""
        found = {}
        for model in (Place, Shop, Tag, Booking, Booking.tags.through, Entry, ContentType, Permission):
            names = [field.attname for field in model._meta.local_concrete_fields]
            rows = model.objects.order_by("pk").values_list(*names)
            lines = [json.dumps([plain(value) for value in row], sort_keys=True) for row in rows]
            found[model._meta.db_table] = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16], len(lines)
        nulls = Booking.objects.filter(remark__isnull=True).count()
        return "digest " + json.dumps({**found, "nulls": nulls})

    def spoil(self, _rows):
        """What SQLite takes and PostgreSQL refuses."""
        Tag.objects.create(name="x" * 60)

    def mend(self, _rows):
        Tag.objects.filter(name="x" * 60).delete()

    def next(self, _rows):
        tag = Booking.objects.create(
            place=Place.objects.first(), amount=1, took=datetime.timedelta(0), share=0, receipt=b"", details=[]
        )
        return f"next {tag.pk}"

    def write(self, _rows):
        """Says of each row that it is saved, until somebody ends this."""
        for number in itertools.count():
            entry = Entry.objects.create(name="clerk", message="of a command", reference=f"{self.prefix}{number}")
            self.stdout.write(entry.reference)
            self.stdout.flush()
            time.sleep(0.05)
