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
    description: The file, which may have several secrets. Its directory is made where it is not there.
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
  former:
    description:
      - The name of a variable in the same file with the secrets before and the one to come, with commas between. It is
        handed on with the secret.
    type: str
  former_values:
    description:
      - With O(value), what O(former) is to have. A secret that is among them gives way to O(value). So does any other
        one where O(former) of the host has O(value).
    type: list
    elements: str
  used:
    description:
      - A file like O(path) with the secrets that are in use. With V(renewed) and V(announced), a secret of O(path) that
        differs from the one there is new already, and stays.
    type: path
  state:
    description:
      - V(present) makes a secret where there is none, or keeps O(value).
      - V(renewed) makes another one in its place.
      - V(announced) makes another one and puts it first in O(former), so that all hosts know it before one uses it. One
        that was announced before and never promoted stays the one to come.
      - V(promoted) puts O(value), the one that was announced, in the place of the secret, which goes to O(former).
      - V(forgotten) removes O(former).
    type: str
    choices: [present, renewed, announced, promoted, forgotten]
    default: present
  keep:
    description: With V(promoted), how many secrets before stay in O(former).
    type: int
    default: 2
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
  description: The secret, or the one that was announced. Empty in check mode where there is none yet.
  returned: where O(value) is not given
  type: str
former:
  description: The secrets before and the one to come.
  returned: where O(former) is given and O(value) is not
  type: list
  elements: str
differs:
  description: Whether the host has another one, which was left alone.
  returned: success
  type: bool
"""

import os
import secrets
import tempfile

from ansible.module_utils.basic import AnsibleModule

STATES = ["present", "renewed", "announced", "promoted", "forgotten"]


def read(path: str) -> dict[str, str]:
    """The variables of the file; none if it is not there."""
    try:
        with open(path) as handle:
            pairs = [line.partition("=") for line in handle.read().splitlines()]
    except FileNotFoundError:
        return {}
    return {name: value for name, sign, value in pairs if sign}


def write(path: str, variables: dict[str, str]) -> None:
    """Replace the file by rename, so that it is whole at every moment."""
    os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=".secret-", dir=os.path.dirname(path))  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as handle:
            handle.write("".join(f"{name}={value}\n" for name, value in variables.items()))
            handle.flush()
            os.fsync(handle.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def made() -> str:
    """A new secret, of letters, digits, hyphens and underscores."""
    return secrets.token_urlsafe(50)


def wanted(params: dict, there: str, former: list[str], coming: bool, new: bool) -> tuple[str, list[str]]:
    """The secret and the former ones as they are to be.

    :param there: the secret that the host has; empty for none.
    :param former: those that it has.
    :param coming: whether the first of those was announced and not promoted yet.
    :param new: whether the secret is not in use yet.
    """
    state, given = params["state"], params["value"]
    if state == "renewed":
        return there if new else made(), former
    if state == "announced":
        return there, former if coming or new else [made(), *former]
    if state == "promoted" and there != given:
        return given, [each for each in (there, *former) if each not in ("", given)][: params["keep"]]
    if state == "forgotten":
        return there, []
    if state == "present" and given is not None:
        handed = params["former_values"] or []
        if there in ("", given, *handed) or given in former or params["replace"]:
            return given, handed
    return there or given or made(), former


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "variable": {"type": "str", "required": True},
            "value": {"type": "str", "no_log": True},
            "replace": {"type": "bool", "default": False},
            "former": {"type": "str"},
            "used": {"type": "path"},
            "former_values": {"type": "list", "elements": "str", "no_log": True},
            "state": {"type": "str", "choices": STATES, "default": "present"},
            "keep": {"type": "int", "default": 2},
        },
        required_if=[
            ("state", "announced", ["former"]),
            ("state", "promoted", ["former", "value"]),
            ("state", "forgotten", ["former"]),
        ],
        supports_check_mode=True,
    )
    params = module.params
    path, variable, name, given = (params[key] for key in ("path", "variable", "former", "value"))
    mark = f"#{variable}"  # a comment for systemd: the secret that was announced
    try:
        before = read(path)
        there = before.get(variable, "")
        former = [each for each in before.get(name or "", "").split(",") if each]
        new = read(params["used"]).get(variable, there) != there if params["used"] else False
        value, others = wanted(params, there, former, before.get(mark) in former[:1], new)
        changed = (value, others) != (there, former)
        if changed and not module.check_mode:
            kept = {key: text for key, text in before.items() if key not in (variable, name, mark)}
            found = {variable: value, **({name: ",".join(others)} if name else {})}
            if params["state"] == "announced":
                found[mark] = others[0]
            write(path, kept | {key: text for key, text in found.items() if text})
    except OSError as error:
        module.fail_json(msg=f"{error.filename or path}: {error.strerror}")
    result = {"changed": changed, "differs": bool(given and value != given)}
    if given is None:
        shown = others[0] if params["state"] == "announced" and not new else value
        # Nothing was made that another task could use.
        result |= {"value": "" if changed and module.check_mode else shown} | ({"former": others} if name else {})
    module.exit_json(**result)


if __name__ == "__main__":
    main()
