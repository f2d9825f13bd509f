#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Apply a set of files, directories and links to a host in one execution."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tree
short_description: Apply a set of files, directories and links in one execution
description:
  - Brings any number of files, directories and links into the wanted state in one module execution. A loop over
    M(ansible.builtin.template) costs two executions per item, which is what most of an unchanged run is spent on.
  - Everything is prepared before anything is put in place, and each file is replaced by a rename, so that a full disk
    or an unknown owner leaves what was there.
  - With O(stages) the change is made on copies of directories first and tested there, across all files of each, and
    the real ones are touched only when every test passes.
  - With O(stamp) a change that was put in place and never loaded, since the run broke off in between, is reported
    again by the next run.
options:
  entries:
    description: What is to be there. Paths are absolute and unique.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description:
          - Absolute path on the host. Missing parent directories are made, owned by root, mode 0755.
          - With O(entries[].for_each) it is formatted with each item, such as C(/etc/nginx/sites/{name}.conf).
        type: str
        required: true
      template:
        description: A Jinja template below the role's C(templates/) to render into the file.
        type: str
      content:
        description: The file's content.
        type: str
      encoding:
        description: What O(entries[].content) is. With V(base64) it may be binary.
        type: str
        choices: [text, base64]
        default: text
      copy:
        description: A file or a whole directory below the role's C(files/) to copy as it is.
        type: str
      directory:
        description: The path is a directory. What lies in it is left alone.
        type: bool
      link:
        description: The path is a symbolic link to this target.
        type: str
      absent:
        description: The path is not to be there. A directory goes with all that lies in it.
        type: bool
      for_each:
        description: A list of mappings; the entry is applied once for each.
        type: list
        elements: dict
      loop_var:
        description: The name under which O(entries[].template) sees the item.
        type: str
        default: item
      vars:
        description: Further variables for O(entries[].template). They win over those in O(vars).
        type: dict
      mode:
        description: Octal mode as a string. C(0644) for files and C(0755) for directories and executables by default.
        type: str
      owner:
        description: Owner's name.
        type: str
        default: root
      group:
        description: Group's name.
        type: str
        default: root
      sensitive:
        description: The content never appears in a diff.
        type: bool
        default: false
  purge:
    description: Directories in which what matches a pattern and is no entry is removed. It does not descend.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The directory.
        type: str
        required: true
      patterns:
        description: Shell patterns of file names.
        type: list
        elements: str
        required: true
      containing:
        description: Only files that have this very line.
        type: str
  vars:
    description: Variables that every template of the call sees. They are evaluated once, and not by each template.
    type: dict
    default: {}
  stages:
    description: Directories whose copies take the change first, each with the command that tests it.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The directory.
        type: str
        required: true
      validate:
        description: The command that tests the copy; C({stage}) stands for the copy's path. No shell is involved.
        type: str
        required: true
      name:
        description: What an error calls the test, the command itself by default.
        type: str
      stdin:
        description: What the command reads, such as a program for an interpreter.
        type: str
      triggers:
        description: Paths outside of the directory whose change calls for the test too.
        type: list
        elements: str
        default: []
  stamp:
    description:
      - The name of this call, which no other call on the host has. The file
        C(/var/lib/djangofleet/applied/<name>.json) tells what has been loaded.
      - Whoever has loaded the files, such as a handler, writes RV(stamp.content) to RV(stamp.path). A path that it does
        not know in its present state is a changed one.
    type: str
attributes:
  check_mode:
    description: Everything is compared and tested, and nothing is written.
    support: full
  diff_mode:
    description: Shows the content of files, apart from sensitive and binary ones.
    support: full
author: djangofleet developers (@djangofleet)
"""

EXAMPLES = r"""
- name: Write the sites of Nginx, tested before they are put in place
  djangofleet.stack.tree:
    entries:
      - {path: /etc/nginx/nginx.conf, template: etc/nginx/nginx.conf.j2}
      - path: "/etc/nginx/sites/{name}.conf"
        template: etc/nginx/sites/site.conf.j2
        for_each: "{{ nginx_sites }}"
        loop_var: site
    purge:
      - {path: /etc/nginx/sites, patterns: ["*.conf"]}
    stages:
      - {path: /etc/nginx, validate: "nginx -t -q -c {stage}/nginx.conf"}
    stamp: nginx
  register: nginx_tree
  notify: Reload nginx

# Among the handlers, after the one that reloads Nginx:
- name: Remember what Nginx has loaded
  djangofleet.stack.tree:
    entries:
      - {path: "{{ nginx_tree.stamp.path }}", content: "{{ nginx_tree.stamp.content }}"}
  listen: Reload nginx
"""

RETURN = r"""
changed_paths:
  description:
    - The paths that changed, or would in check mode.
    - With O(stamp) also those that changed in an earlier run and were not loaded.
  returned: success
  type: list
  elements: str
stamp:
  description: What to write once the files have been loaded.
  returned: with O(stamp)
  type: dict
  contains:
    path:
      description: Path of the stamp.
      type: str
    content:
      description: A digest for each path. Without a key that only root can read on the host it tells nothing.
      type: str
"""

import base64
import fnmatch
import grp
import hmac
import json
import os
import pwd
import re
import secrets
import shlex
import shutil
import stat
import tempfile

from ansible.module_utils.basic import AnsibleModule

HIDDEN = "(content not shown)\n"
HIDDEN_CHANGED = "(other content, not shown)\n"
BINARY = "(binary content)\n"
WAITING = "changed earlier, and not loaded yet"
STAMPS = "/var/lib/djangofleet/applied"
STAMP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class TreeError(Exception):
    """A wish that cannot be met; the text names the path and the reason."""


def plain(entry: dict) -> dict:
    """What a path is to be: `kind`, with `content` or `target`, mode and owner.

    :raises TreeError: it needs the controller, which makes content of templates and copies.
    """
    common = {key: entry[key] for key in ("path", "sensitive")}
    owned = {key: entry[key] for key in ("owner", "group")}
    if entry["absent"]:
        return {**common, "kind": "absent"}
    if entry["link"] is not None:
        return {**common, "kind": "link", "target": entry["link"]}
    if entry["directory"]:
        return {**common, **owned, "kind": "directory", "mode": entry["mode"] or "0755"}
    if entry["content"] is None:
        raise TreeError(f"{entry['path']}: takes one of content, link, directory and absent once it is on the host")
    decode = base64.b64decode if entry["encoding"] == "base64" else str.encode
    return {**common, **owned, "kind": "file", "content": decode(entry["content"]), "mode": entry["mode"] or "0644"}


def read_current(path: str) -> dict:
    """Describe what lies at a path now, without following a link."""
    try:
        info = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {"kind": "absent"}
    found = {"mode": stat.S_IMODE(info.st_mode), "uid": info.st_uid, "gid": info.st_gid}
    if stat.S_ISLNK(info.st_mode):
        return {"kind": "link", "target": os.readlink(path)}
    if stat.S_ISDIR(info.st_mode):
        return {"kind": "directory", **found}
    if stat.S_ISREG(info.st_mode):
        with open(path, "rb") as handle:
            return {"kind": "file", "content": handle.read(), **found}
    return {"kind": "other", **found}


class Tree:
    """The wanted entries of a host and how far it is from them.

    :param check: nothing is written; an owner that does not exist yet counts as a change.
    """

    def __init__(self, entries: list[dict], purge: list[dict], check: bool) -> None:
        self.check = check
        self.entries = [self._resolve(entry) for entry in entries]
        wanted = {entry["path"] for entry in self.entries}
        for rule in purge:
            if not os.path.isdir(rule["path"]):
                continue
            for name in sorted(os.listdir(rule["path"])):
                path = os.path.join(rule["path"], name)
                if path not in wanted and purged(path, rule):
                    self.entries.append({"path": path, "kind": "absent", "sensitive": True})

    def _resolve(self, entry: dict) -> dict:
        if entry["kind"] in ("file", "directory"):
            entry["mode"] = int(entry["mode"], 8)
            entry["uid"] = self._identity(entry, "owner", pwd.getpwnam, "pw_uid")
            entry["gid"] = self._identity(entry, "group", grp.getgrnam, "gr_gid")
        return entry

    def _identity(self, entry: dict, key: str, lookup, field: str) -> int | None:
        try:
            return getattr(lookup(entry[key]), field)
        except KeyError:
            if self.check:
                return None
            raise TreeError(f"{entry['path']}: there is no {key} '{entry[key]}' on this host") from None

    def pending(self) -> list[dict]:
        """The entries that differ from what the host has."""
        return [entry for entry in self.entries if self._differs(entry)]

    @staticmethod
    def _differs(entry: dict) -> bool:
        current = entry["current"] = read_current(entry["path"])
        if current["kind"] != entry["kind"]:
            return True
        keys = {"file": ("content", "mode", "uid", "gid"), "directory": ("mode", "uid", "gid"), "link": ("target",)}
        return any(current[key] != entry[key] for key in keys.get(entry["kind"], ()))


def purged(path: str, rule: dict) -> bool:
    """Whether a rule of purge names a file."""
    if not any(fnmatch.fnmatchcase(os.path.basename(path), pattern) for pattern in rule["patterns"]):
        return False
    if not rule.get("containing"):
        return True
    current = read_current(path)
    return current["kind"] == "file" and rule["containing"].encode() in current["content"].splitlines()


def make_parents(path: str) -> None:
    """Make the missing directories above a path, whatever the umask says."""
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        make_parents(parent)
        os.mkdir(parent)
        os.chmod(parent, 0o755)  # noqa: S103  (as every directory of the system)


def relocate(path: str, root: str, copy: str) -> str:
    """Where a path below root lies in the copy of root."""
    return copy + path[len(root) :]


def below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def apply(entries: list[dict]) -> None:
    """Put entries in place: everything is written beside its place first, then renamed."""
    prepared: list[tuple[str, str]] = []
    try:
        for entry in entries:
            _check_replaceable(entry)
            if entry["kind"] == "directory":
                _apply_directory(entry)
            elif entry["kind"] in ("file", "link"):
                make_parents(entry["path"])
                prepared.append((_prepare(entry), entry["path"]))
        while prepared:
            temporary, path = prepared[0]
            os.rename(temporary, path)
            prepared.pop(0)
        for entry in entries:
            if entry["kind"] == "absent":
                _remove(entry["path"])
    except OSError as error:
        raise TreeError(f"{error.filename or entries[0]['path']}: {error.strerror or error}") from error
    finally:
        for temporary, _path in prepared:
            os.unlink(temporary)


def _check_replaceable(entry: dict) -> None:
    found = read_current(entry["path"])["kind"]
    if entry["kind"] in ("file", "link") and found == "directory":
        raise TreeError(f"{entry['path']}: is a directory, wanted a {entry['kind']}; move it away first")
    if entry["kind"] == "directory" and found not in ("absent", "directory"):
        raise TreeError(f"{entry['path']}: is a {found}, wanted a directory; move it away first")


def _apply_directory(entry: dict) -> None:
    make_parents(entry["path"])
    if not os.path.isdir(entry["path"]):
        os.mkdir(entry["path"], 0o700)
    os.chown(entry["path"], entry["uid"], entry["gid"])
    os.chmod(entry["path"], entry["mode"])


def _prepare(entry: dict) -> str:
    directory, name = os.path.split(entry["path"])
    if entry["kind"] == "link":
        temporary = os.path.join(directory, f".{name}.{os.getpid()}")
        os.symlink(entry["target"], temporary)
        return temporary
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(entry["content"])
            handle.flush()
            os.fchown(handle.fileno(), entry["uid"], entry["gid"])
            os.fchmod(handle.fileno(), entry["mode"])
            os.fsync(handle.fileno())
    except BaseException:
        os.unlink(temporary)
        raise
    return temporary


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def validate_copy(module: AnsibleModule, pending: list[dict], wish: dict) -> None:
    """Make the change on a copy of a directory and run a test on it.

    :param wish: one of `stages`.
    :raises TreeError: the test said no; its output is in the text. The real directory has not been touched.
    """
    stage = wish["path"].rstrip("/")
    staged = [entry for entry in pending if below(entry["path"], stage)]
    if not staged and not any(entry["path"] in wish["triggers"] for entry in pending):
        return
    words = shlex.split(wish["validate"])
    if module.check_mode and not (os.path.isdir(stage) and shutil.which(words[0])):
        return  # the package that brings both is not there yet
    copy = tempfile.mkdtemp(prefix=os.path.basename(stage) + ".staged-", dir=os.path.dirname(stage))
    try:
        if os.path.isdir(stage):
            shutil.copytree(stage, copy, symlinks=True, dirs_exist_ok=True)
        root = {"uid": 0, "gid": 0}  # an owner unknown in check mode does not matter for the test
        apply(
            [
                {
                    **entry,
                    **{key: value for key, value in root.items() if entry.get(key, 0) is None},
                    "path": relocate(entry["path"], stage, copy),
                }
                for entry in staged
            ]
        )
        words = [word.replace("{stage}", copy) for word in words]
        code, out, err = module.run_command(words, data=wish.get("stdin"))
        if code != 0:
            report = (out + err).replace(copy, stage).strip()
            test = wish["name"] or wish["validate"]
            raise TreeError(f"{stage}: the new content was refused by '{test}', nothing was changed:\n{report}")
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def as_text(state: dict) -> str:
    """A state as a reader of a diff wants it."""
    if state["kind"] == "file":
        try:
            return state["content"].decode()
        except UnicodeDecodeError:
            return BINARY
    return {"link": f"link to {state.get('target')}\n", "directory": "directory\n"}.get(state["kind"], "")


def describe(entry: dict) -> dict:
    """One entry of the diff that Ansible shows."""
    headers = {}
    for side, state in (("before", entry["current"]), ("after", entry)):
        attributes = ""
        if "mode" in state:
            attributes = f" ({state['uid']}:{state['gid']} {state['mode']:04o})"
        headers[f"{side}_header"] = f"{entry['path']}{attributes}"
    if entry.get("sensitive") and "file" in (entry["kind"], entry["current"]["kind"]):
        before = HIDDEN if entry["current"]["kind"] == "file" else ""
        changed = entry["current"].get("content") != entry.get("content")
        after = {"file": HIDDEN_CHANGED if before and changed else HIDDEN}.get(entry["kind"], "")
        return {**headers, "before": before, "after": after}
    return {**headers, "before": as_text(entry["current"]), "after": as_text(entry)}


def read_key(path: str, check: bool) -> bytes:
    """The host's key for digests, which is made the first time. A digest of a short secret could be guessed without it.

    :param check: one that is not there yet is not kept, so that nothing matches it.
    """
    current = read_current(path)
    if current["kind"] == "file":
        return current["content"]
    key = {"path": path, "kind": "file", "content": secrets.token_bytes(32), "mode": 0o600}
    if not check:
        apply([{**key, "uid": os.geteuid(), "gid": os.getegid()}])
    return key["content"]


def digest(key: bytes, entry: dict) -> str:
    """A digest of all that makes an entry what it is."""
    words = json.dumps([entry.get(field) for field in ("path", "kind", "target", "mode", "owner", "group")])
    return hmac.new(key, words.encode() + b"\0" + entry.get("content", b""), "sha256").hexdigest()


def read_stamp(path: str) -> dict[str, str]:
    """The digests of what has been loaded, by path. One that is damaged knows nothing."""
    try:
        found = json.loads(read_current(path).get("content", b"{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def never_loaded(wanted: dict[str, str], loaded: dict[str, str]) -> list[str]:
    """The paths that are not as they were when they were loaded last. One that is gone counts until that is loaded."""
    changed = [path for path, value in wanted.items() if loaded.get(path) != value]
    return changed + [path for path in loaded if path not in wanted and not os.path.lexists(path)]


def stamped(name: str, entries: list[dict], check: bool) -> tuple[dict[str, str], list[str]]:
    """The stamp to write once the entries have been loaded, and the paths that wait for that.

    :raises TreeError: the name is not one of a file.
    """
    if not STAMP.fullmatch(name):
        raise TreeError(f"stamp: '{name}' is no name; it takes letters, digits and ._-")
    key = read_key(f"{STAMPS}/key", check)
    wanted = {entry["path"]: digest(key, entry) for entry in entries if entry["kind"] != "absent"}
    path = f"{STAMPS}/{name}.json"
    return {"path": path, "content": json.dumps(wanted, indent=1) + "\n"}, never_loaded(wanted, read_stamp(path))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "entries": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "str", "required": True},
                    "template": {"type": "str"},
                    "content": {"type": "str", "no_log": True},
                    "encoding": {"type": "str", "choices": ["text", "base64"], "default": "text"},
                    "copy": {"type": "str"},
                    "directory": {"type": "bool"},
                    "link": {"type": "str"},
                    "absent": {"type": "bool"},
                    "for_each": {"type": "list", "elements": "dict"},
                    "loop_var": {"type": "str", "default": "item"},
                    "vars": {"type": "dict"},
                    "mode": {"type": "str"},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str", "default": "root"},
                    "sensitive": {"type": "bool", "default": False},
                },
            },
            "purge": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "str", "required": True},
                    "patterns": {"type": "list", "elements": "str", "required": True},
                    "containing": {"type": "str"},
                },
            },
            "vars": {"type": "dict", "default": {}},
            "stages": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "str", "required": True},
                    "validate": {"type": "str", "required": True},
                    "name": {"type": "str"},
                    "stdin": {"type": "str"},
                    "triggers": {"type": "list", "elements": "str", "default": []},
                },
            },
            "stamp": {"type": "str"},
        },
        supports_check_mode=True,
    )
    wish, check = module.params, module.check_mode
    more = {}
    waiting: list[str] = []
    try:
        tree = Tree([plain(entry) for entry in wish["entries"]], wish["purge"], check)
        pending = tree.pending()
        for stage in wish["stages"]:
            validate_copy(module, pending, stage)
        if wish["stamp"]:
            more["stamp"], waiting = stamped(wish["stamp"], tree.entries, check)
        if not check:
            apply(pending)
    except TreeError as error:
        module.fail_json(msg=str(error))
    changed = [entry["path"] for entry in pending]
    waiting = [path for path in waiting if path not in changed]
    module.exit_json(
        changed=bool(changed + waiting),
        changed_paths=changed + waiting,
        diff=[describe(entry) for entry in pending] + [{"prepared": f"{path}: {WAITING}\n"} for path in waiting],
        **more,
    )


if __name__ == "__main__":
    main()
