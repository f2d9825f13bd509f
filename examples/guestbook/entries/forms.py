"""Validation of what visitors send: the page, the API and the admin share it."""

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat

from .models import MAX_MESSAGE_LENGTH, Entry

MAX_IMAGE_BYTES = 2 * 1024 * 1024
MAX_IMAGE_PIXELS = 25_000_000
IMAGE_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif"}


class PictureForm(forms.ModelForm):
    """A form that refuses pictures which are too large or of a kind that not every browser shows."""

    def clean_image(self):
        image = self.cleaned_data["image"]
        if not isinstance(image, UploadedFile):  # none, or the one that is there already
            return image
        if image.size > MAX_IMAGE_BYTES:
            raise forms.ValidationError(
                f"The picture has {filesizeformat(image.size)}; at most {filesizeformat(MAX_IMAGE_BYTES)} are accepted."
            )
        if image.image.width * image.image.height > MAX_IMAGE_PIXELS:
            raise forms.ValidationError(
                f"The picture measures {image.image.width} × {image.image.height} pixels; "
                f"at most {MAX_IMAGE_PIXELS // 1_000_000} megapixels are accepted."
            )
        suffix = IMAGE_SUFFIXES.get(image.image.format)
        if suffix is None:
            raise forms.ValidationError(
                f"This is a {image.image.format} picture; JPEG, PNG, WebP and GIF are accepted."
            )
        # The suffix follows the content, for by the suffix the web server tells browsers what it is.
        image.name = f"picture{suffix}"
        return image


class EntryForm(PictureForm):
    class Meta:
        model = Entry
        fields = ["name", "message", "image", "reference"]
        labels = {"name": "Your name", "message": "Your message", "image": "A picture"}
        help_texts = {
            "image": f"Optional: JPEG, PNG, WebP or GIF, up to {filesizeformat(MAX_IMAGE_BYTES)}.",
        }
        error_messages = {
            "name": {"required": "Please say who you are."},
            "message": {
                "required": "Please write a line or two.",
                "max_length": (
                    f"The message has %(show_value)d characters; at most {MAX_MESSAGE_LENGTH} are accepted."
                ),
            },
        }
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "name"}),
            "message": forms.Textarea(attrs={"rows": 5, "data-counter": "message-counter"}),
            "image": forms.FileInput(
                attrs={
                    "accept": "image/jpeg,image/png,image/webp,image/gif",
                    "data-preview": "image-preview",
                    "data-max-bytes": MAX_IMAGE_BYTES,
                }
            ),
            "reference": forms.HiddenInput,
        }


class ApiEntryForm(EntryForm):
    """The same rules for the API, which takes no pictures."""

    class Meta(EntryForm.Meta):
        fields = ["name", "message", "reference"]
