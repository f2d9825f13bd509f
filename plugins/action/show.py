# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""All of djangofleet.stack.show: the controller prints, and no host is asked."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display


class ActionModule(ActionBase):
    """Prints the text through Ansible's own display, which passes it from a fork to the process that may print."""

    _VALID_ARGS = frozenset(("text",))
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        spec = {"text": {"type": "str", "required": True}}
        Display().display(f"\n{self.validate_argument_spec(spec)[1]['text']}")
        return {"changed": False}
