"""`manage.py seed`: an admin and a few sample entries. Safe to run again."""

import io
import os

from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.core.management.base import BaseCommand, CommandError
from PIL import Image, ImageDraw

from entries.models import Entry

# The first becomes the oldest, as in a book. They are told apart by their reference, so that the texts may change.
SAMPLES = [
    (
        "seed:socket",
        "The socket",
        "I was here before anyone else, and I hold the door.\nWhile the app restarts, visitors wait with me for a "
        "moment, and nobody is sent away.",
        False,
    ),
    (
        "seed:static",
        "A style sheet",
        "My name has a hash in it. Browsers may keep me for a year: when I change, I get a new name.",
        False,
    ),
    (
        "seed:picture",
        "A harbour at dusk",
        "Uploaded like any other picture: stored by Django, handed out by the web server, kept over releases.",
        True,
    ),
    (
        "seed:welcome",
        "Guestbook",
        "Welcome! This is a real site: sign the book, add a picture, then deploy another release and watch the footer "
        "change while your entry stays.",
        False,
    ),
]


def harbour(width: int = 960, height: int = 480) -> bytes:
    """Draw the sample picture, a PNG, so that no binary file need lie in the repository."""
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    horizon = int(height * 0.66)

    def blend(top: tuple, bottom: tuple, share: float) -> tuple:
        return tuple(round(a + (b - a) * share) for a, b in zip(top, bottom, strict=True))

    for y in range(height):
        if y < horizon:
            colour = blend((24, 38, 62), (244, 150, 104), (y / horizon) ** 1.6)
        else:
            colour = blend((92, 74, 88), (16, 26, 44), ((y - horizon) / (height - horizon)) ** 0.6)
        draw.line([(0, y), (width, y)], fill=colour)
    sun_x, sun_y, radius = int(width * 0.68), horizon - 34, 46
    draw.ellipse([sun_x - radius, sun_y - radius, sun_x + radius, sun_y + radius], fill=(255, 224, 178))
    for y in range(horizon, height):  # the lower part of the sun is water again
        draw.line([(sun_x - radius, y), (sun_x + radius, y)], fill=image.getpixel((8, y)))
    for step in range(9):  # and its light lies on the waves
        y, half = horizon + 10 + step * 15, 44 - step * 4 + (step % 2) * 14
        draw.line([(sun_x - half, y), (sun_x + half, y)], fill=(236, 158, 118), width=3)
    for x, size in ((190, 1.0), (330, 0.62), (455, 0.8)):  # the fleet
        base, mast = horizon + 26 * size, 118 * size
        dark = (20, 29, 46)
        draw.polygon(
            [
                (x - 52 * size, base - 16 * size),
                (x + 56 * size, base - 16 * size),
                (x + 38 * size, base),
                (x - 36 * size, base),
            ],
            fill=dark,
        )
        draw.line([(x, base - 16 * size), (x, base - mast - 18 * size)], fill=dark, width=max(2, round(3 * size)))
        draw.polygon(
            [
                (x + 5 * size, base - mast - 12 * size),
                (x + 5 * size, base - 24 * size),
                (x + 50 * size, base - 24 * size),
            ],
            fill=(250, 240, 224),
        )
        draw.polygon(
            [
                (x - 5 * size, base - mast + 6 * size),
                (x - 5 * size, base - 24 * size),
                (x - 38 * size, base - 24 * size),
            ],
            fill=(226, 206, 188),
        )
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


class Command(BaseCommand):
    help = (
        "Create an admin from DJANGO_SUPERUSER_USERNAME and DJANGO_SUPERUSER_PASSWORD, and a few sample entries. "
        "What is there already stays as it is."
    )

    def handle(self, *args, **options) -> None:
        self._seed_admin()
        self._seed_entries()

    def _seed_admin(self) -> None:
        username = os.environ.get("DJANGO_SUPERUSER_USERNAME", "")
        password = os.environ.get("DJANGO_SUPERUSER_PASSWORD", "")
        if not username and not password:
            self.stdout.write("admin: skipped, DJANGO_SUPERUSER_USERNAME and DJANGO_SUPERUSER_PASSWORD are not set")
            return
        if not username or not password:
            raise CommandError("Set both DJANGO_SUPERUSER_USERNAME and DJANGO_SUPERUSER_PASSWORD, or neither.")
        users = get_user_model()
        user = users.objects.filter(username=username).first()
        if user is None:
            users.objects.create_superuser(username=username, password=password)
            self.stdout.write(f"admin: created {username}")
        elif not (user.is_active and user.is_staff and user.is_superuser):
            # Somebody took these rights away. That is a decision, and not ours to undo.
            raise CommandError(f"The user {username} is there, but is no active superuser; choose another name.")
        elif user.check_password(password):
            self.stdout.write(f"admin: {username} is there already")
        else:
            # The summary of the demo names this password, so it has to be the one that works.
            user.set_password(password)
            user.save(update_fields=["password"])
            self.stdout.write(f"admin: password of {username} set anew")

    def _seed_entries(self) -> None:
        created = 0
        for reference, name, message, with_picture in SAMPLES:
            if Entry.objects.filter(reference=reference).exists():
                continue
            entry = Entry(reference=reference, name=name, message=message)
            if with_picture:
                entry.image.save("harbour.png", ContentFile(harbour()), save=False)
            entry.save()
            created += 1
        self.stdout.write(f"entries: {created} created, {len(SAMPLES) - created} there already")
