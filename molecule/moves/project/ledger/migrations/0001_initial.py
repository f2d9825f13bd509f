# ruff: noqa: RUF012 — as Django writes them
import uuid

import django.db.models.deletion
from django.db import migrations, models

KEY = ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))


def first_rows(apps, schema_editor):
    """Rows that the migrations of an empty database make: their keys are random, those of the old database count."""
    place = apps.get_model("ledger", "Place").objects.create(name="made by a migration")
    apps.get_model("ledger", "Place").objects.create(name="below it", over=place)


class Migration(migrations.Migration):
    initial = True
    dependencies = [("contenttypes", "0002_remove_content_type_name")]
    operations = [
        migrations.CreateModel(
            name="Place",
            fields=[
                ("key", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=20, unique=True)),
                (
                    "over",
                    models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, to="ledger.place"),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Shop",
            fields=[
                (
                    "place_ptr",
                    models.OneToOneField(
                        auto_created=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        parent_link=True,
                        primary_key=True,
                        serialize=False,
                        to="ledger.place",
                    ),
                ),
                ("opened", models.DateField()),
            ],
            bases=("ledger.place",),
        ),
        migrations.CreateModel(name="Tag", fields=[KEY, ("name", models.SlugField(unique=True))]),
        migrations.CreateModel(
            name="Booking",
            fields=[
                KEY,
                ("place", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="ledger.place")),
                ("tags", models.ManyToManyField(to="ledger.tag")),
                ("amount", models.DecimalField(decimal_places=2, max_digits=12)),
                ("took", models.DurationField()),
                ("share", models.FloatField()),
                ("paid", models.BooleanField(default=False)),
                ("receipt", models.BinaryField()),
                ("details", models.JSONField()),
                ("remark", models.JSONField(null=True)),
                ("address", models.GenericIPAddressField(null=True)),
                ("changed", models.DateTimeField(auto_now=True)),
                ("about_id", models.BigIntegerField(null=True)),
                (
                    "about_type",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.CASCADE, to="contenttypes.contenttype"
                    ),
                ),
            ],
        ),
        migrations.RunPython(first_rows, migrations.RunPython.noop),
    ]
