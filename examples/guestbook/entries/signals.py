"""What a change of an entry brings with it, whoever made it: the form, the API or the admin."""

from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from .models import Entry
from .stats import forget_stats


@receiver([post_save, post_delete], sender=Entry, dispatch_uid="entries.forget_stats")
def forget_stats_on_commit(**kwargs) -> None:
    # After the commit: before it, another worker would count the old rows into the new generation.
    transaction.on_commit(forget_stats)


@receiver(post_delete, sender=Entry, dispatch_uid="entries.delete_picture")
def delete_picture_on_commit(instance: Entry, **kwargs) -> None:
    if instance.image:
        storage, name = instance.image.storage, instance.image.name
        transaction.on_commit(lambda: storage.delete(name))
