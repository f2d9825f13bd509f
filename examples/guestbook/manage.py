#!/usr/bin/env python3
"""Entry point for Django's management commands."""

import os
import sys


def main() -> None:
    # The tests bring their own environment, so that `manage.py test` needs no preparation.
    testing = sys.argv[1:2] == ["test"]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", f"guestbook.settings{'_test' if testing else ''}")

    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
