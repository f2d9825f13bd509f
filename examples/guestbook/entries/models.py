"""The guestbook's one table."""

import uuid
from pathlib import PurePath

from django.db import models
from django.utils import timezone

MAX_MESSAGE_LENGTH = 1000


def picture_path(entry: "Entry", filename: str) -> str:
    """Return where an upload is kept: under a name of our own, which nobody can guess or clash with."""
    return f"entries/{timezone.now():%Y/%m}/{uuid.uuid4().hex}{PurePath(filename).suffix.lower()}"


class Entry(models.Model):
    name = models.CharField(max_length=80)
    message = models.TextField(max_length=MAX_MESSAGE_LENGTH)
    image = models.ImageField(
        "picture",
        upload_to=picture_path,
        width_field="image_width",
        height_field="image_height",
        blank=True,
    )
    # Known sizes let a browser lay out the page before the pictures arrive.
    image_width = models.PositiveIntegerField(null=True, blank=True, editable=False)
    image_height = models.PositiveIntegerField(null=True, blank=True, editable=False)
    # Not unique on purpose: a load test gives each post its own reference, then looks for lost and doubled ones.
    reference = models.CharField(max_length=64, blank=True, db_index=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "entries"

    def __str__(self) -> str:
        return f"{self.name}, {self.created_at:%Y-%m-%d}"

    @property
    def initial(self) -> str:
        return self.name[:1].upper()

    @property
    def tint(self) -> int:
        """Return which of the style sheet's six colours the entry's initial has."""
        return sum(self.name.encode("utf-8", "replace")) % 6
