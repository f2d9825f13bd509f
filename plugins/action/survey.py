# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of djangofleet.stack.survey: asks the host only what the play does not know yet."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.djangofleet.stack.plugins.plugin_utils.preload import preload

preload()

KINDS = ("units", "users", "paths", "certificates", "databases", "files")
NAMES = {"type": "list", "elements": "str", "default": []}
CERTIFICATE = {key: {"type": "str", "required": True, "no_log": False} for key in ("name", "certificate", "key")}
SPEC = {
    **dict.fromkeys(KINDS, NAMES),
    "certificates": {"type": "list", "elements": "dict", "options": CERTIFICATE, "default": []},
    "questions": {"type": "list", "elements": "dict", "default": []},
    "fresh": {"type": "bool", "default": False},
}


def name_of(question: str | dict) -> str:
    """What an answer is found by."""
    return question if isinstance(question, str) else question["name"]


def known_answers(survey: object) -> dict[str, dict]:
    """The answers by kind in the result of an earlier survey; what is none has none."""
    found = survey if isinstance(survey, dict) else {}
    return {kind: found[kind] if isinstance(found.get(kind), dict) else {} for kind in KINDS}


def together(asked: dict) -> dict[str, list]:
    """What is asked by kind, in the options and in the list of questions, each thing once.

    :raises AnsibleActionFail: a question is of no kind that there is.
    """
    if unknown := sorted({kind for each in asked["questions"] for kind in each} - set(KINDS)):
        raise AnsibleActionFail(f"questions: found {', '.join(unknown)}; ask for {', '.join(KINDS)}")
    found = {}
    for kind in KINDS:
        every = [*asked[kind], *(each for given in asked["questions"] for each in given.get(kind) or [])]
        found[kind] = list({name_of(each): each for each in every}.values())
    return found


class ActionModule(ActionBase):
    """Takes answers from djangofleet_survey, and the others from the host."""

    _VALID_ARGS = frozenset(SPEC)

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        _found, given = self.validate_argument_spec(SPEC)
        asked = together(given)
        earlier = self._templar.template((task_vars or {}).get("djangofleet_survey"))
        known = known_answers(None if given["fresh"] else earlier)
        left = {kind: [each for each in asked[kind] if name_of(each) not in known[kind]] for kind in KINDS}
        result = {"changed": False}
        # The memory comes with every answer.
        result["memory"] = (earlier if isinstance(earlier, dict) else {}).get("memory", 0)
        if any(left.values()):
            result = self._execute_module(module_args=left, task_vars=task_vars)
            if result.get("failed"):
                return result
        for kind in KINDS:
            answers = {**known[kind], **result.get(kind, {})}
            result[kind] = {name_of(each): answers[name_of(each)] for each in asked[kind]}
        return result
