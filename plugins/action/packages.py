# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of djangofleet.stack.packages: hands what the host lacks to apt."""

from __future__ import annotations

import re

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

APT = {"update_cache": True, "lock_timeout": 300}
# Seconds for which an index counts as fresh. One that lacks a package is refreshed at once: an archive may be new, and
# an image may have lost its lists a minute ago.
FRESH = (3600, 0)
# What ansible.builtin.apt and apt-get say of a package that no archive has.
UNKNOWN = re.compile(
    r"No package(?:\(s\))? matching '(.+?)'|no available installation candidate for (\S+)"
    r"|Package '(.+?)' has no installation candidate"
)


def unknown_package(answer: dict) -> str | None:
    """The package that apt does not find, if it failed because of one."""
    found = UNKNOWN.search(str(answer.get("msg", ""))) if answer.get("failed") else None
    return found and next(name for name in found.groups() if name)


def known_answer(packages: object, names: list[str]) -> dict | None:
    """The answer that an earlier step has given, if it was about all of the names."""
    found = packages if isinstance(packages, dict) else {}
    present, missing = (found.get(key) or [] for key in ("present", "missing"))
    if not set(names) <= set(present):
        return None
    return {"changed": False, "missing": [name for name in names if name in missing], "present": names}


class ActionModule(ActionBase):
    """Asks dpkg first, and apt only for what is missing."""

    _VALID_ARGS = frozenset(("name",))

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        spec = {"name": {"type": "list", "elements": "str", "required": True}}
        names = list(dict.fromkeys(self.validate_argument_spec(spec)[1]["name"]))
        known = known_answer(self._templar.template((task_vars or {}).get("djangofleet_packages")), names)
        if known is not None:
            return known
        found = self._execute_module(module_args={"name": names}, task_vars=task_vars)
        if found.get("failed") or not found["missing"]:
            return found
        answer = self._install(found["missing"], task_vars)
        if name := unknown_package(answer):
            text = f"the archives that this host is configured with have no package '{name}'"
            if f"{name} is a virtual package" in answer.get("stdout", ""):
                text = f"'{name}' is a virtual package that several packages provide; name one of them"
            raise AnsibleActionFail(text)
        if answer.get("failed"):
            return answer
        changed = answer.get("changed", False)
        # apt changes nothing for a virtual package that another one provides.
        result = {**found, "changed": changed, "missing": found["missing"] if changed else [], "present": names}
        return {**result, "diff": answer["diff"]} if answer.get("diff") else result

    def _install(self, names: list[str], task_vars: dict) -> dict:
        """Install packages from an index that has them, or say in check mode what that would change."""
        check = self._task.check_mode
        for age in FRESH:
            if check:  # apt leaves the index alone in check mode, and a new host has none
                answer = self._apt({"cache_valid_time": age}, task_vars, check=False)
                if answer.get("failed"):
                    break
            wanted = {"name": names, "install_recommends": False, "cache_valid_time": age}
            answer = self._apt(wanted, task_vars, check=check)
            if not unknown_package(answer):
                break
        return answer

    def _apt(self, arguments: dict, task_vars: dict, *, check: bool) -> dict:
        before, self._task.check_mode = self._task.check_mode, check
        try:
            return self._execute_module(
                module_name="ansible.builtin.apt", module_args={**APT, **arguments}, task_vars=task_vars
            )
        finally:
            self._task.check_mode = before
