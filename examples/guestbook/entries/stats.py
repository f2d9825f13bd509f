"""Figures about the book, kept in the cache.

They are stored with the generation that they belong to, and every change starts a new generation. So a reader that
counted before a change and stores its figures after it stores something that nobody believes; deleting the key
instead would leave that race open.
"""

import logging
import uuid

from django.core.cache import cache
from django.db.models import Count, Q

from .models import Entry

logger = logging.getLogger(__name__)

GENERATION_KEY = "entries:generation"
STATS_KEY = "entries:stats"
TTL = 60


def count_entries() -> dict[str, int]:
    """Return how many entries and pictures there are, from the database."""
    return Entry.objects.aggregate(entries=Count("pk"), pictures=Count("pk", filter=~Q(image="")))


def get_stats() -> dict[str, int]:
    """Return the same from the cache, if it can; a cache that is down costs time, not the page."""
    try:
        found = cache.get_many([GENERATION_KEY, STATS_KEY])
    except Exception:
        logger.warning("The cache cannot be read, counting in the database", exc_info=True)
        return count_entries()
    generation = found.get(GENERATION_KEY)
    stored_generation, stats = found.get(STATS_KEY, (None, None))
    if stats is None or stored_generation != generation:
        stats = count_entries()
        try:
            cache.set(STATS_KEY, (generation, stats), TTL)
        except Exception:
            logger.warning("The cache cannot be written", exc_info=True)
    return stats


def forget_stats() -> None:
    """Make the next reader count anew."""
    try:
        cache.set(GENERATION_KEY, uuid.uuid4().hex, None)
    except Exception:
        logger.warning("The cache cannot be written, figures may be old for %s seconds", TTL, exc_info=True)
