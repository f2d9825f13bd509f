"""Renders templates of the project as the pages that Nginx shows when it answers itself.

Usage: render.py <directory> <status>=<template>... The release's interpreter runs it, so it imports nothing of
djangoctl. There is no request: what a template takes from one is empty. What is known only when the page is shown has a
placeholder.
"""

import os
import sys

REQUEST_ID = "DJANGOFLEET-REQUEST-ID"  # Nginx puts the id in its place
MESSAGE = "DJANGOFLEET-MESSAGE"  # djangoctl puts in its place what an operator says


def main(directory: str, *pages: str) -> None:
    sys.path[0] = os.getcwd()  # instead of this file's directory
    import django

    django.setup()
    from django.template.loader import render_to_string

    os.makedirs(directory, exist_ok=True)
    for page in pages:
        status, _sign, name = page.partition("=")
        context = {"status": status, "request_id": REQUEST_ID, "message": MESSAGE}
        text = render_to_string(name, context)
        with open(os.path.join(directory, f"{status}.html"), "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
