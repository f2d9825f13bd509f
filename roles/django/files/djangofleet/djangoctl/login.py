"""The login by which an app enters its PostgreSQL. Its name follows from its password.

A role has one password. So another password is another login, which stands beside the one in use until no process of
the app needs that any more. Whoever knows the password knows the name, and no record has to say which of them is meant.
"""

from __future__ import annotations

import hashlib

ROUNDS = 10_000  # every login of the server sees the names: they must be no quick way to try passwords
DIGITS = 8


def login_of(role: str, password: str) -> str:
    """The login for a password.

    :param role: whose rights it has, and who owns what it makes.
    """
    return f"{role}_{hashlib.pbkdf2_hmac('sha256', password.encode(), role.encode(), ROUNDS, DIGITS // 2).hex()}"
