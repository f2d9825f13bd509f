# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How modules ask Amazon: by boto3, with one patience, or with a word about what is missing."""

from __future__ import annotations

import traceback
from typing import Any

try:
    import boto3
    from botocore import exceptions, parsers
    from botocore.config import Config

    BOTO = ""
    failures, UnreadableAnswer = exceptions, parsers.ResponseParserError
except ImportError:
    BOTO = traceback.format_exc()
    failures = UnreadableAnswer = None

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

# How long a region may take that cannot be reached, and how often a request is sent that Amazon throttles.
PATIENCE = {"connect_timeout": 10, "read_timeout": 60, "retries": {"mode": "standard", "max_attempts": 6}}


def need_boto(module: AnsibleModule) -> None:
    """End a module that has nothing to ask Amazon by."""
    if BOTO:
        module.fail_json(msg=missing_required_lib("boto3"), exception=BOTO)


def clients(region: str, *services: str) -> list[Any]:
    """A client for each service. They share a session, so that credentials are fetched once.

    :raises failures.BotoCoreError: the credentials cannot be read.
    """
    session = boto3.Session()
    return [session.client(service, region_name=region, config=Config(**PATIENCE)) for service in services]
