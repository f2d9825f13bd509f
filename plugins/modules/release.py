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
  - A source on the controller is packed and sent only when the host does not have the release it makes; one of at most
    1 MB at once, as it costs less than the question.
options:
  app:
    description: Name of the app.
    type: str
    required: true
  state:
    description:
      - V(fetched) brings O(version) of O(source.git) to the host, where it serves nobody. The same in check mode.
      - V(built) makes the release of O(source) and touches nothing live.
      - V(migrated) runs the migrations of O(release).
      - V(published) adds the static files of O(release) to those that the host serves, and replaces none of them.
      - V(active) puts O(release) live without dropping a request. C(current) is the one that is live.
      - V(rolled_back) puts O(release), or the good one that was live before, live again.
      - V(moved) copies the rows to the database of the configuration in O(config), and goes over to it.
      - V(absent) stops the app and removes its units and its configuration.
      - V(reverted) puts O(release) live again if another one is, for a host of a rollout that stopped.
    type: str
    choices: [fetched, built, migrated, published, active, moved, rolled_back, reverted, absent]
    required: true
  source:
    description: Where the code comes from. One of its keys.
    type: dict
    suboptions:
      git:
        description: With V(fetched), the address of a repository that the host can read.
        type: str
      key_file:
        description: The path on the host of the private key for O(source.git).
        type: path
      known_hosts_file:
        description: The path on the host of the only host keys that are trusted for O(source.git).
        type: path
      tree:
        description: A directory on the host, such as the RV(tree) of a fetch. Wants O(revision).
        type: str
      archive:
        description: A packed directory on the host, as C(.tar.gz). Wants O(revision). O(source.path) is sent as one.
        type: str
      content:
        description: The same archive as Base64. A small O(source.path) is sent as one.
        type: str
      path:
        description: A directory on the controller.
        type: str
      exclude:
        description: >-
          Shell patterns of names that are left out of O(source.path). By default C(.git), virtualenvs, C(node_modules)
          and caches.
        type: list
        elements: str
      package:
        description: A requirement, or the path of a wheel on the controller; either may have extras.
        type: str
      credentials:
        description: >-
          What the address in O(source.package) has from C(://) to C(@), with both. Taken from there if not given.
        type: str
  revision:
    description: What names the source for good, such as a commit. Derived from the content of O(source) if not given.
    type: str
  version:
    description:
      - What names the source for people; the readable part of the release's id.
      - With V(fetched) a branch, a tag or a commit.
    type: str
  scm_version:
    description: With V(built), the version of a project that takes it from Git; the RV(scm_version) of a fetch.
    type: str
  config:
    description:
      - With V(built) in check mode, a directory named as the app with the configuration that a run would write. The
        rehearsal uses it in place of what is there.
      - With V(moved) a directory named as the app with the configuration that names the other database.
    type: path
  leave:
    description: With V(moved), tables that stay behind, and columns as C(table.column); each may be a pattern.
    type: list
    elements: str
    default: []
  only:
    description: With V(moved), what is tried while visitors are served, or the rest. Both, where it is left out.
    type: str
    choices: [rehearsal, move]
  release:
    description: The id of a release, for V(migrated), V(published), V(active), V(rolled_back) and V(reverted).
    type: str
  allow_destructive:
    description: With V(migrated), also by operations that destroy or rewrite.
    type: bool
    default: false
  allow_schema_ahead:
    description: With V(active) and V(rolled_back), even if the database is ahead of the release.
    type: bool
    default: false
  rollout:
    description:
      - When the rollout began that this is a part of, as text that sorts, such as an ISO 8601 time. Of two that meet on
        a host the later one fails, and the earlier one waits until the host is free.
    type: str
    default: ""
  allow_data_removal:
    description: With V(absent), remove releases, uploads, the SQLite database and the SECRET_KEY too.
    type: bool
    default: false
  actor:
    description: Who asks, for the record that the host keeps. The user who runs Ansible if not given.
    type: str
attributes:
  check_mode:
    description: Says what a run would do and changes nothing.
    support: full
  diff_mode:
    description: Shows the difference that a run makes.
    support: none
author: djangofleet developers (@djangofleet)
"""

EXAMPLES = r"""
- name: Build
  djangofleet.stack.release:
    app: shop
    state: built
    source: {path: /home/me/shop}
  register: build

- name: Fetch
  djangofleet.stack.release:
    app: shop
    state: fetched
    source: {git: "https://git.example.com/shop.git"}
    version: v1.4.2
  register: fetch

- name: Build what was fetched, whoever fetches what meanwhile
  djangofleet.stack.release:
    app: shop
    state: built
    source: {tree: "{{ fetch.tree }}"}
    revision: "{{ fetch.revision }}"
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
migrate:
  description:
    - With V(built), whether V(migrated) could change anything. V(false) says that the plan of the release is empty, and
      that no hook is left from an earlier run.
  returned: success
  type: bool
revision:
  description: With V(fetched), the commit.
  returned: success
  type: str
tree:
  description: With V(fetched), the directory on the host with the files of that commit. It stays for an hour.
  returned: success
  type: str
scm_version:
  description: With V(fetched), the version of the commit after its tags, as setuptools-scm and pbr take it.
  returned: success
  type: str
"""

import base64
import json
import os

from ansible.module_utils.basic import AnsibleModule

PROGRAM = "/usr/local/bin/djangoctl"
USAGE = 2  # the exit code of djangoctl for options that it does not know
REHEARSED = ("fetched", "built", "published", "moved", "absent")  # by what an earlier djangoctl may not know
VERBS = {
    "fetched": "fetch",
    "built": "build",
    "migrated": "migrate",
    "published": "publish",
    "active": "activate",
    "moved": "move",
    "rolled_back": "rollback",
    "reverted": "activate",
    "absent": "remove",
}


def words(params: dict, check: bool) -> list[str]:
    """The command line of djangoctl for these parameters."""
    verb = "plan" if check and params["state"] == "migrated" else VERBS[params["state"]]
    result = [params["app"], verb, "--json"]
    source = params["source"] or {}
    sources = [f"--{key}={source[key]}" for key in ("tree", "archive", "package") if source.get(key)]
    if source.get("credentials"):
        sources = ["--package-from-environment"]
    if params["state"] == "fetched":
        result.append(f"--version={params['version'] or 'HEAD'}")
        files = {"key": source.get("key_file"), "known-hosts": source.get("known_hosts_file")}
        return result + [f"--{name}={path}" for name, path in files.items() if path]
    if params["state"] == "built":
        # One word each: a value that begins with a hyphen would be taken for an option.
        result += [f"--revision={params['revision']}", f"--version={params['version'] or ''}", *sources]
        result += [f"--scm-version={params['scm_version']}"] if params["scm_version"] else []
        result += [f"--config={params['config']}"] if check and params["config"] else []
        return [*result, *(["--dry-run"] if not sources else ["--rehearse"] if check else [])]
    if params["state"] == "moved":
        result += [f"--config={params['config']}", *(f"--leave={name}" for name in params["leave"])]
        result += [f"--only={params['only']}"] if params["only"] else []
        return [*result, *(["--dry-run"] if check else [])]
    if params["state"] == "absent":
        wanted = (("--with-data", params["allow_data_removal"]), ("--dry-run", check))
        return result + [flag for flag, is_wanted in wanted if is_wanted]
    if params["release"]:
        result.append(params["release"])
    if verb == "migrate" and params["allow_destructive"]:
        result.append("--allow-destructive")
    if params["state"] == "reverted":
        result += ["--unless-live", "--allow-schema-ahead"]
    if verb == "publish":
        result += ["--dry-run"] if check else []
    if verb in ("activate", "rollback"):
        result += [
            flag
            for flag, wanted in (("--allow-schema-ahead", params["allow_schema_ahead"]), ("--dry-run", check))
            if wanted
        ]
    return result


def decoded(content: str, directory: str) -> str:
    """Write an archive that came as Base64 to a file; returns its path. Ansible removes the directory."""
    path = os.path.join(directory, "source.tar.gz")
    with open(path, "wb") as handle:
        handle.write(base64.b64decode(content))
    return path


def unknown(params: dict) -> bool:
    """Whether djangoctl has nothing to say yet: in check mode, of what a run would have made by now."""
    app = params["app"]
    if not os.path.exists(PROGRAM) or not os.path.exists(f"/etc/djangofleet/{app}/app.json"):
        return True
    with open(f"/etc/djangofleet/{app}/app.json") as handle:
        root = json.load(handle)["root"]
    release = "current" if params["release"] == "current" else f"releases/{params['release'] or ''}"
    return params["state"] not in ("fetched", "built", "moved") and not os.path.exists(f"{root}/{release}/release.json")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": list(VERBS)},
            "source": {
                "type": "dict",
                "options": {
                    "git": {"type": "str"},
                    "key_file": {"type": "path"},
                    "known_hosts_file": {"type": "path"},
                    "tree": {"type": "str"},
                    "archive": {"type": "str"},
                    "content": {"type": "str", "no_log": True},
                    "path": {"type": "str"},
                    "exclude": {"type": "list", "elements": "str"},
                    "package": {"type": "str"},
                    "credentials": {"type": "str", "no_log": True},
                },
            },
            "revision": {"type": "str"},
            "version": {"type": "str"},
            "scm_version": {"type": "str"},
            "config": {"type": "path"},
            "leave": {"type": "list", "elements": "str", "default": []},
            "only": {"type": "str", "choices": ["rehearsal", "move"]},
            "release": {"type": "str"},
            "allow_destructive": {"type": "bool", "default": False},
            "allow_schema_ahead": {"type": "bool", "default": False},
            "allow_data_removal": {"type": "bool", "default": False},
            "rollout": {"type": "str", "default": ""},
            "actor": {"type": "str"},
        },
        required_if=[
            ("state", "built", ["revision"]),
            ("state", "migrated", ["release"]),
            ("state", "published", ["release"]),
            ("state", "active", ["release"]),
            ("state", "moved", ["config"]),
            ("state", "reverted", ["release"]),
        ],
        supports_check_mode=True,
    )
    params = module.params
    nothing = {"before": None, "revision": params["revision"] or "unknown", "tree": "unknown", "scm_version": ""}
    nothing |= {"changed": True, "pending": True, "release": params["release"] or "", "plan": [], "advice": []}
    nothing |= {"migrate": True, "deploy_check": ""}
    if params["state"] == "absent" and not os.path.exists(f"/etc/djangofleet/{params['app']}/app.json"):
        module.exit_json(changed=False)
    if module.check_mode and params["state"] not in ("rolled_back", "absent") and unknown(params):
        module.exit_json(**nothing)
    if not os.path.exists(PROGRAM):
        module.fail_json(msg="there is no djangoctl on this host: run the role django first")
    os.environ.update({"DJANGOCTL_ACTOR": params["actor"] or "", "DJANGOCTL_ROLLOUT": params["rollout"]})
    # It may have a token, and every user of the host can read a command line.
    source = params["source"] or {}
    os.environ["DJANGOCTL_REPOSITORY"] = source.get("git") or ""
    package = (source.get("package") or "").replace("://@", source.get("credentials") or "://@", 1)
    os.environ["DJANGOCTL_PACKAGE"] = package
    if content := source.get("content"):
        source["archive"] = decoded(content, module.tmpdir)
    code, out, err = module.run_command([PROGRAM, *words(params, module.check_mode)])
    try:
        result = json.loads(out)
    except ValueError:
        if module.check_mode and code == USAGE and params["state"] in REHEARSED:
            module.warn("djangoctl on this host is of an earlier version, which a run replaces: nothing was rehearsed")
            module.exit_json(**nothing)
        module.fail_json(msg=f"djangoctl ended with {code}: {(out + err).strip()}")
    if code != 0:
        text = [result["message"], result["log"], result["state"], result["hint"]]
        module.fail_json(msg="\n".join(part for part in text if part), exit_code=code)
    result.setdefault("changed", bool(result.get("plan")))  # a plan alone, in check mode
    advice = result.pop("warnings", [])
    for line in advice if params["state"] != "built" else []:  # of a build, the role shows it
        module.warn(f"{params['app']}: {line}")
    module.exit_json(advice=advice, **result)


if __name__ == "__main__":
    main()
