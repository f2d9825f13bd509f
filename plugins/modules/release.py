#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bring a release of a Django app to a state."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Build, migrate to or activate a release of a Django app
description:
  - Asks C(djangoctl) on the host for it, and turns its answer into Ansible's. The role P(djangofleet.stack.django#role)
    installs it.
  - A source on the controller is packed and sent only when the host does not have the release it makes.
options:
  app:
    description: Name of the app.
    type: str
    required: true
  state:
    description:
      - V(built) makes the release of O(source) and touches nothing live.
      - V(migrated) runs the migrations of O(release).
      - V(active) puts O(release) live without dropping a request.
    type: str
    choices: [built, migrated, active]
    required: true
  source:
    description: Where the code comes from. One of its keys.
    type: dict
    suboptions:
      tree:
        description: A directory on the host, such as a checkout. Wants O(revision).
        type: str
      path:
        description: A directory on the controller.
        type: str
      exclude:
        description: Shell patterns of names that are left out of O(source.path).
        type: list
        elements: str
      package:
        description: A requirement, or the path of a wheel on the controller.
        type: str
  revision:
    description: What names the source for good, such as a commit. Derived from the content of O(source) if not given.
    type: str
  version:
    description: What names the source for people; the readable part of the release's id.
    type: str
  release:
    description: The id of a release, for V(migrated) and V(active).
    type: str
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: djangofleet
"""

EXAMPLES = r"""
- name: Build
  djangofleet.stack.release:
    app: shop
    state: built
    source: {path: /home/me/shop}
  register: build

- name: Activate
  djangofleet.stack.release: {app: shop, state: active, release: "{{ build.release }}"}
"""

RETURN = r"""
release:
  description: The release's id.
  returned: always, apart from check mode on a host without djangoctl
  type: str
pending:
  description: With V(built), whether activating the release would change anything.
  returned: success
  type: bool
"""

import json
import os
import shutil

from ansible.module_utils.basic import AnsibleModule

VERBS = {"built": "build", "migrated": "migrate", "active": "activate"}


def words(params: dict, check: bool) -> list[str]:
    """The command line of djangoctl for these parameters."""
    result = [params["app"], VERBS[params["state"]], "--json"]
    if params["state"] == "built":
        # One word each: a value that begins with a hyphen would be taken for an option.
        result += [f"--revision={params['revision']}", f"--version={params['version'] or ''}"]
        result += [f"--{key}={params[key]}" for key in ("tree", "archive", "package") if params[key]]
    else:
        result.append(params["release"])
    return [*result, "--dry-run"] if check and params["state"] != "migrated" else result


def is_there(app: str, release: str) -> bool:
    """Whether a release has been built. In check mode, the step before has only said that it would be."""
    with open(f"/etc/djangofleet/{app}/app.json") as handle:
        return os.path.isdir(os.path.join(json.load(handle)["root"], "releases", release))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": list(VERBS)},
            "revision": {"type": "str"},
            "version": {"type": "str"},
            "tree": {"type": "str"},
            "archive": {"type": "str"},
            "package": {"type": "str"},
            "release": {"type": "str"},
            "actor": {"type": "str", "default": ""},
        },
        required_if=[
            ("state", "built", ["revision"]),
            ("state", "migrated", ["release"]),
            ("state", "active", ["release"]),
        ],
        supports_check_mode=True,
    )
    program = shutil.which("djangoctl", path="/usr/local/bin")
    if module.check_mode and (
        program is None or not os.path.exists(f"/etc/djangofleet/{module.params['app']}/app.json")
    ):
        module.exit_json(changed=True, pending=True, release="", warnings=[], deploy_check="")
    if program is None:
        module.fail_json(msg="there is no djangoctl on this host: run the role django first")
    if module.check_mode and module.params["state"] == "migrated":
        module.exit_json(changed=False, release=module.params["release"], applied=[])
    planned = module.check_mode and module.params["state"] == "active"
    if planned and not is_there(module.params["app"], module.params["release"]):
        module.exit_json(changed=True, release=module.params["release"])
    os.environ["DJANGOCTL_ACTOR"] = module.params["actor"]
    code, out, err = module.run_command([program, *words(module.params, module.check_mode)])
    try:
        result = json.loads(out)
    except ValueError:
        module.fail_json(msg=f"djangoctl ended with {code}: {(out + err).strip()}")
    if code != 0:
        text = [result["message"], result["log"], result["state"], result["hint"]]
        module.fail_json(msg="\n".join(part for part in text if part), exit_code=code)
    warnings = result.pop("warnings", [])
    module.exit_json(advice=warnings, **result)


if __name__ == "__main__":
    main()
