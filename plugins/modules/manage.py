#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run a command of an app's manage.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: manage
short_description: Run a command of an app's manage.py
description:
  - Runs C(djangoctl <app> manage), and so the command with user, environment and sandbox of the app's service. Wants
    root.
  - The command gets no input and no terminal. One that asks for something gets the end of a file as its answer.
  - No word goes through a shell.
author: djangofleet developers (@djangofleet)
options:
  app:
    description: Name of the app.
    type: str
    required: true
  words:
    description: The command and its arguments, as they follow C(manage.py).
    type: list
    elements: str
    required: true
  release:
    description: The id of a release to run it in. Empty for the live one.
    type: str
    default: ""
attributes:
  check_mode:
    description: Runs nothing. Nobody knows what a command would do, so that it is told as a change.
    support: full
  diff_mode:
    description: Nobody knows what a command changes.
    support: none
"""

EXAMPLES = r"""
- name: Show what migrations would do
  djangofleet.stack.manage:
    app: shop
    words: [migrate, --plan]
  register: found
"""

RETURN = r"""
command:
  description: The command line that runs it on the host.
  returned: where the host has djangoctl
  type: list
  elements: str
  sample: [djangoctl, shop, manage, migrate, --plan]
rc:
  description: The exit code of the command. Null in check mode.
  returned: where the host has djangoctl
  type: int
output:
  description: What it has printed, errors too.
  returned: where the host has djangoctl
  type: str
"""

import os
import subprocess

from ansible.module_utils.basic import AnsibleModule

PROGRAM = "/usr/local/bin/djangoctl"


def command_of(app: str, words: list[str], release: str) -> list[str]:
    """The command line of djangoctl. The release is one word with its option, whatever it begins with."""
    return ["djangoctl", app, "manage", *([f"--release={release}"] if release else []), *words]


def run(command: list[str]) -> tuple[int, str]:
    """Exit code and output of djangoctl. Without input: over ssh, a terminal that nobody types at would be one."""
    done = subprocess.run(
        [PROGRAM, *command[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "words": {"type": "list", "elements": "str", "required": True},
            "release": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    asked = module.params
    if not asked["words"] or asked["words"][0].startswith("-"):
        module.fail_json(msg="words: give a command of manage.py first")
    command = command_of(asked["app"], asked["words"], asked["release"])
    if not os.path.exists(PROGRAM):
        module.fail_json(msg="there is no djangoctl on this host: run site.yml first")
    if module.check_mode:
        module.exit_json(changed=True, command=command, rc=None, output="")
    code, output = run(command)
    if code:
        module.fail_json(msg=f"{' '.join(command)} ended with {code}", command=command, rc=code, output=output)
    module.exit_json(changed=True, command=command, rc=code, output=output)


if __name__ == "__main__":
    main()
