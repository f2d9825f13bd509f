from django.contrib import admin
from django.utils.html import format_html
from django.utils.text import Truncator

from .forms import PictureForm
from .models import Entry


@admin.register(Entry)
class EntryAdmin(admin.ModelAdmin):
    form = PictureForm
    list_display = ["name", "beginning", "thumbnail", "created_at"]
    list_filter = ["created_at"]
    search_fields = ["name", "message", "reference"]
    fields = ["name", "message", "image", "picture", "reference", "created_at"]
    readonly_fields = ["picture", "created_at"]
    list_per_page = 50

    @admin.display(description="message")
    def beginning(self, entry: Entry) -> str:
        return Truncator(entry.message).chars(80)

    @admin.display(description="picture")
    def thumbnail(self, entry: Entry) -> str:
        return self._image(entry, 48)

    @admin.display(description="as visitors see it")
    def picture(self, entry: Entry) -> str:
        return self._image(entry, 240)

    @staticmethod
    def _image(entry: Entry, height: int) -> str:
        if not entry.image:
            return "–"
        # An attribute and no style: the content security policy forbids inline styles.
        return format_html('<img src="{}" height="{}" alt="" loading="lazy">', entry.image.url, height)
