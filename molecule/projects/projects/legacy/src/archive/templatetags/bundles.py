import json
from functools import cache

from django import template
from django.conf import settings

register = template.Library()


@cache
def manifest():
    return json.loads((settings.STATIC_ROOT / "bundles" / "manifest.json").read_text())


@register.simple_tag
def bundle(name):
    """The address of a bundle that `manage.py buildassets` has made."""
    return f"{settings.STATIC_URL}bundles/{manifest()[name]}"
