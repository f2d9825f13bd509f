# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of djangofleet.stack.tree: renders and reads what the module puts in place."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator

from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible_collections.djangofleet.stack.plugins.plugin_utils.preload import preload

preload()

SOURCES = ("template", "content", "copy", "directory", "link", "absent")
KEYS = {*SOURCES, "path", "encoding", "for_each", "loop_var", "vars", "mode", "owner", "group", "sensitive"}
HANDED_ON = ("purge", "stages", "stamp")


class ActionModule(ActionBase):
    """Turns entries into plain paths and contents and hands them to the module in one piece."""

    _VALID_ARGS = frozenset(("entries", "vars", *HANDED_ON))

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = self._task.args
        variables = {**task_vars, **(arguments.get("vars") or {})}
        entries = [
            plain
            for entry in arguments.get("entries") or []
            for single, more in self._expand(entry)
            for plain in self._plain(single, {**variables, **more})
        ]
        paths = [entry["path"] for entry in entries]
        if repeated := sorted({path for path in paths if paths.count(path) > 1}):
            raise AnsibleActionFail(f"entries: {repeated[0]} is there twice; a path can be described once")
        module_args = {key: arguments[key] for key in HANDED_ON if arguments.get(key) is not None}
        return self._execute_module(module_args={**module_args, "entries": entries}, task_vars=task_vars)

    @staticmethod
    def _expand(entry: dict) -> Iterator[tuple[dict, dict]]:
        """One entry for each item of for_each, with the variables its template sees."""
        if unknown := set(entry) - KEYS:
            raise AnsibleActionFail(f"entries: {entry.get('path')}: unknown key '{sorted(unknown)[0]}'")
        variables = entry.get("vars") or {}
        if "for_each" not in entry:
            yield entry, variables
            return
        for item in entry["for_each"]:
            try:
                path = str(entry["path"]).format(**item)
            except KeyError as error:
                raise AnsibleActionFail(f"entries: {entry['path']}: an item has no key {error}") from error
            yield {**entry, "path": path}, {**variables, entry.get("loop_var", "item"): item}

    def _plain(self, entry: dict, variables: dict) -> Iterator[dict]:
        """What the module is to put in place for one entry: several for a directory that is copied whole."""
        path = str(entry.get("path", ""))
        kinds = [key for key in SOURCES if entry.get(key) not in (None, False)]
        if not os.path.isabs(path) or os.path.normpath(path) != path:
            raise AnsibleActionFail(f"entries: '{path}' is no plain absolute path")
        if len(kinds) != 1:
            raise AnsibleActionFail(f"entries: {path}: takes exactly one of {', '.join(SOURCES)}; found {kinds}")
        kind = kinds[0]
        common = {"path": path, "sensitive": bool(entry.get("sensitive", False))}
        owned = {**common, "owner": str(entry.get("owner", "root")), "group": str(entry.get("group", "root"))}
        if kind == "absent":
            yield {**common, "absent": True}
        elif kind == "link":
            yield {**common, "link": str(entry["link"])}
        elif kind == "directory":
            yield {**owned, "directory": True, "mode": self._mode(entry, "0755")}
        elif kind == "copy":
            yield from self._copied(owned, entry)
        else:
            content = self._render(entry, variables).encode() if kind == "template" else self._content(entry)
            yield self._file(owned, content, self._mode(entry, "0644"))

    @staticmethod
    def _mode(entry: dict, default: str) -> str:
        mode = entry.get("mode", default)
        if not isinstance(mode, str) or not mode or set(mode) - set("01234567"):
            raise AnsibleActionFail(
                f"entries: {entry['path']}: mode is to be an octal number as a string, such as '0640'"
            )
        return str(mode)

    @staticmethod
    def _file(owned: dict, content: bytes, mode: str) -> dict:
        return {**owned, "content": base64.b64encode(content).decode(), "encoding": "base64", "mode": mode}

    @staticmethod
    def _content(entry: dict) -> bytes:
        encoding = entry.get("encoding", "text")
        if encoding not in ("text", "base64"):
            raise AnsibleActionFail(f"entries: {entry['path']}: encoding is text or base64, not '{encoding}'")
        if encoding == "text":
            return str(entry["content"]).encode()
        try:
            return base64.b64decode(entry["content"])
        except binascii.Error as error:
            raise AnsibleActionFail(f"entries: {entry['path']}: the content is no base64: {error}") from error

    def _copied(self, owned: dict, entry: dict) -> Iterator[dict]:
        source = self._needle("files", entry["copy"])
        if os.path.isfile(source):
            yield self._from_disk(owned, entry, source)
            return
        for directory, names, files in os.walk(source):
            names[:] = sorted(name for name in names if name != "__pycache__")
            for name in sorted(files):
                path = os.path.join(directory, name)
                target = os.path.join(entry["path"], os.path.relpath(path, source))
                yield self._from_disk({**owned, "path": target}, entry, path)

    def _from_disk(self, owned: dict, entry: dict, source: str) -> dict:
        with open(source, "rb") as handle:
            content = handle.read()
        return self._file(owned, content, self._mode(entry, "0755" if os.access(source, os.X_OK) else "0644"))

    def _needle(self, room: str, name: str) -> str:
        try:
            return self._find_needle(room, name)
        except AnsibleError as error:
            raise AnsibleActionFail(str(error)) from error

    def _render(self, entry: dict, variables: dict) -> str:
        """Render as ansible.builtin.template does: same search path, newlines kept, blocks trimmed."""
        source = self._needle("templates", entry["template"])
        variables.setdefault("ansible_managed", C.config.get_config_value("DEFAULT_MANAGED_STR"))
        roots = variables.get("ansible_search_path") or []
        search = [
            os.path.dirname(source),
            *(path for root in roots for path in (os.path.join(root, "templates"), root)),
        ]
        templar = self._templar.copy_with_new_env(searchpath=search, available_variables=variables)
        with open(source, encoding="utf-8") as handle:
            template = trust_as_template(handle.read())
        return str(templar.template(template, escape_backslashes=False, overrides={"trim_blocks": True}) or "")
