#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make a secret on one host and keep the same on others."""

from __future__ import annotations

DOCUMENTATION = r"""
module: secret
short_description: Make a secret on one host and keep the same on others
description:
  - A secret that hosts share is made on one of them and goes to the others in the controller's memory. It is on no disk
    of the controller.
  - The file is an environment file of systemd that only root can read.
  - A task that does not give O(value) gets the secret back, and has to say C(no_log).
options:
  path:
    description: The file. Its directory has to be there.
    type: path
    required: true
  variable:
    description: The name of the variable in it.
    type: str
    required: true
  value:
    description: The secret. Made if it is not given and the file is not there.
    type: str
  replace:
    description: Put O(value) in the place of another one.
    type: bool
    default: false
attributes:
  check_mode:
    description: Nothing is made and nothing is written.
    support: full
  diff_mode:
    description: A secret is in no diff.
    support: none
author: djangofleet developers (@djangofleet)
"""

EXAMPLES = r"""
- name: Make a key on the first host
  djangofleet.stack.secret: {path: /etc/djangofleet/shop/secret, variable: SECRET_KEY}
  delegate_to: web1
  run_once: true
  register: key
  no_log: true

- name: Give it to the others
  djangofleet.stack.secret: {path: /etc/djangofleet/shop/secret, variable: SECRET_KEY, value: "{{ key.value }}"}
"""

RETURN = r"""
value:
  description: The secret. Empty in check mode where there is none yet.
  returned: where O(value) is not given
  type: str
differs:
  description: Whether the host has another one, which was left alone.
  returned: success
  type: bool
"""

import os
import secrets
import tempfile

from ansible.module_utils.basic import AnsibleModule


def read(path: str, variable: str) -> str:
    """The secret in a file; empty if there is none."""
    try:
        with open(path) as handle:
            lines = handle.read().splitlines()
    except FileNotFoundError:
        return ""
    return next((line.partition("=")[2] for line in lines if line.startswith(f"{variable}=")), "")


def write(path: str, variable: str, value: str) -> None:
    """Replace the file by rename, so that it is whole at every moment."""
    descriptor, temporary = tempfile.mkstemp(prefix=".secret-", dir=os.path.dirname(path))  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as handle:
            handle.write(f"{variable}={value}\n")
            handle.flush()
            os.fsync(handle.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "variable": {"type": "str", "required": True},
            "value": {"type": "str", "no_log": True},
            "replace": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    path, variable, given = (module.params[name] for name in ("path", "variable", "value"))
    try:
        there = read(path, variable)
        wanted = there if given is None or (there and not module.params["replace"]) else given
        if not wanted and given is None and not module.check_mode:
            wanted = secrets.token_urlsafe(50)
        changed = wanted != there or (given is None and not there)
        if changed and not module.check_mode:
            write(path, variable, wanted)
    except OSError as error:
        module.fail_json(msg=f"{error.filename or path}: {error.strerror}")
    result = {"changed": changed, "differs": bool(given and wanted != given)}
    module.exit_json(**result, **({} if given is not None else {"value": wanted}))


if __name__ == "__main__":
    main()
