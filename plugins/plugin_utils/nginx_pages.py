# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of the role nginx for the pages of errors and for private files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils.patterns import matches
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import labelled, problem

# What Nginx itself may answer with to whoever reads it.
# Not 400, 414 and 431: a request that is refused so early may have no path, without which Nginx says 500 in place of
# finding a page.
STATUSES = (401, 403, 404, 405, 413, 429, 500, 502, 503, 504)
URL = "/.djangofleet/errors/"
# Stands in a page for the id of the request that gets it.
PLACEHOLDER = "DJANGOFLEET-REQUEST-ID"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


# Where a build leaves the pages that it has made of an app's templates, among the static files.
ROOM = ".errors"
MAINTENANCE = "maintenance"
CLOSED = 503


def error_files(templates: Mapping[str, str], static: str) -> dict[str, str]:
    """The files that a build makes of an app's templates, by status.

    :param templates: the templates by status, and by the word maintenance.
    :param static: the directory of the app's static files.
    """
    return {status: f"{static}/{ROOM}/{status}.html" for status in templates if status != MAINTENANCE}


def template_problems(path: str, templates: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the templates that an app gives for its pages."""
    known = [*(str(status) for status in STATUSES if status != CLOSED), MAINTENANCE]
    for status, name in templates.items():
        if status == str(CLOSED):
            yield problem(path, status, f"{MAINTENANCE}, the page of a closed site, which is all that has this status")
        elif status not in known:
            yield problem(path, status, f"one of {', '.join(known)}")
        elif not isinstance(name, str) or not matches("file", name):
            yield problem(f"{path}.{status}", name, "the name of a template, such as 404.html")


def page_settings() -> dict[str, Any]:
    """What the templates need to know of all pages."""
    return {
        "error_statuses": STATUSES,
        "error_policy": POLICY,
        "error_url": URL,
        "request_id_placeholder": PLACEHOLDER,
    }


def error_pages(pages: Mapping[str, str], identifier: str) -> list[dict[str, str]]:
    """A site's own pages, each with the variable that says where an error leads: a program gets JSON all the same.

    :param pages: the files by status.
    :param identifier: the site's name as part of a variable.
    """
    return [
        {
            "status": status,
            "directory": str(PurePosixPath(file).parent),
            "file": PurePosixPath(file).name,
            "variable": f"$error_{identifier}_{status}",
        }
        for status, file in sorted((str(status), file) for status, file in pages.items())
    ]


def private_directories(names: list[str]) -> list[str]:
    """Each directory once, with a slash at its end."""
    return list(dict.fromkeys(f"{name.rstrip('/')}/" for name in names))


def page_problems(path: str, site: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a site's own pages and private directories.

    :param path: how messages name the site.
    """
    known = [str(status) for status in STATUSES]
    for status, file in site["error_pages"].items():
        if str(status) not in known:
            yield problem(f"{path}.error_pages", status, f"one of {', '.join(known)}")
        elif not isinstance(file, str) or not matches("absolute", file) or "$" in file or file.endswith("/"):
            yield problem(f"{path}.error_pages.{status}", file, "the absolute path of a file, without '$'")
    for where, place in labelled(f"{path}.media", site["media"]):
        yield from private_problems(f"{where}.private", place["private"])


def private_problems(path: str, names: list[str]) -> Iterator[str]:
    """Directories that stand in a configuration of Nginx and in addresses."""
    for where, name in labelled(path, names):
        if not matches("url_below", name):
            yield problem(where, name, "a directory below it such as invoices/, of letters, digits, '-', '_' and '.'")
