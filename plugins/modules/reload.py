#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reload units, and see that what they loaded is in effect."""

from __future__ import annotations

DOCUMENTATION = r"""
module: reload
short_description: Reload units, and see that what they loaded is in effect
description:
  - Reloads units of systemd in one execution. A unit that does not run reads its configuration when it starts, so it is
    left alone, unless O(start) says otherwise. One that cannot be reloaded is restarted.
  - systemd calls a reload of Nginx done when the signal is sent. Nginx then starts workers with the new configuration,
    or logs why it cannot, as when a port is taken, and goes on with the old one. So this waits for a new worker.
options:
  units:
    description: The units. All of them are tried, also when one fails.
    type: list
    elements: str
    required: true
  start:
    description: Start a unit that does not run.
    type: bool
    default: false
  timeout:
    description: Seconds that Nginx has for its first new worker.
    type: int
    default: 10
attributes:
  check_mode:
    description: Says that it would reload, and does not.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
author: djangofleet developers (@djangofleet)
"""

EXAMPLES = r"""
- name: Reload what uses the certificates
  djangofleet.stack.reload: {units: [nginx.service, exim4.service]}
"""

RETURN = r"""
reloaded:
  description: The units that were reloaded or started.
  returned: always
  type: list
  elements: str
"""

import glob
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule

NGINX = ("nginx", "nginx.service")
ERRORS = "/var/log/nginx/error.log"
PROC = "/proc"


def systemctl(*words: str) -> tuple[bool, str]:
    """Whether systemctl succeeds, and what it prints."""
    answer = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    return answer.returncode == 0, (answer.stdout + answer.stderr).strip()


def workers() -> set[str]:
    """The process ids of Nginx's workers."""
    master = systemctl("show", "--property=MainPID", "--value", NGINX[1])[1]
    found: set[str] = set()
    for path in glob.glob(f"{PROC}/{master}/task/*/children"):
        try:
            with open(path) as handle:
                found.update(handle.read().split())
        except OSError:  # the thread has ended
            continue
    return found


def has_new_worker(old: set[str], timeout: float) -> bool:
    """Whether a worker that is not among the old ones appears within that many seconds."""
    deadline = time.monotonic() + timeout
    while not workers() - old:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def last_emergency() -> str:
    """The last two emergencies that Nginx logged: what it could not do, and that it gave up."""
    try:
        with open(ERRORS, errors="replace") as handle:
            return "\n".join([line.strip() for line in handle if "[emerg]" in line][-2:])
    except OSError:
        return ""


def reload(unit: str, start: bool, timeout: float) -> tuple[bool, str]:
    """Reload a unit.

    :returns: whether anything was done, and what went wrong; empty if nothing did.
    """
    if not systemctl("is-active", "--quiet", "--", unit)[0]:
        if not start:
            return False, ""
        done, text = systemctl("start", "--", unit)
        return True, "" if done else f"{unit} could not be started: {text}"
    old = workers() if unit in NGINX else set()
    done, text = systemctl("reload-or-restart", "--", unit)
    if not done:
        return True, f"{unit} could not be reloaded: {text}"
    if unit in NGINX and not has_new_worker(old, timeout):
        return (
            True,
            f"Nginx goes on with its old configuration, since it could not load the new one:\n{last_emergency()}",
        )
    return True, ""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "required": True},
            "start": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    units, start, timeout = (module.params[name] for name in ("units", "start", "timeout"))
    if module.check_mode:
        module.exit_json(changed=True, reloaded=[])
    results = {unit: reload(unit, start, timeout) for unit in units}
    reloaded = [unit for unit, (done, _problem) in results.items() if done]
    problems = [problem for _done, problem in results.values() if problem]
    if problems:
        module.fail_json(msg="\n".join(problems), reloaded=reloaded)
    module.exit_json(changed=bool(reloaded), reloaded=reloaded)


if __name__ == "__main__":
    main()
