#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Install what is missing of a list of packages."""

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Install what is missing of a list of packages
description:
  - Asks dpkg, which knows at once. Only what is missing goes to M(ansible.builtin.apt), which takes seconds to find out
    that nothing is to be done.
  - Packages are installed without those that they merely recommend. The step waits five minutes for a lock, since an
    unattended upgrade may be at work, and refreshes the package index when it is older than an hour or lacks a package.
  - A package that dpkg has begun and not finished to install is missing.
  - What the variable C(djangofleet_packages) covers is not asked again. A playbook that installs the packages of
    several roles in one transaction registers that variable.
options:
  name:
    description:
      - Names of packages, such as V(nginx), V(nginx=1.26*) or V(libc6:i386).
      - A virtual package goes to apt in every run, which takes it if one package alone provides it.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    description: The package index is refreshed in check mode too, since a new host has none to look packages up in.
    support: full
  diff_mode:
    description: Shows what M(ansible.builtin.apt) shows.
    support: full
author: djangofleet developers (@djangofleet)
"""

EXAMPLES = r"""
- name: Install the packages
  djangofleet.stack.packages:
    name: [nginx, openssl]
  register: packages
"""

RETURN = r"""
missing:
  description: Those of the names that were not there. In check mode they still are not.
  returned: success
  type: list
  elements: str
present:
  description: Those that are there now. In check mode also those that would be.
  returned: success
  type: list
  elements: str
"""

import fnmatch
import re
import subprocess

from ansible.module_utils.basic import AnsibleModule

SPEC = re.compile(r"(?P<name>[a-z0-9][a-z0-9+.-]*)(:(?P<architecture>[a-z0-9-]+))?(=(?P<version>[A-Za-z0-9.+:~*?-]+))?")
FORMAT = "${Package} ${Architecture} ${Version} ${db:Status-Status}\\n"


class PackageError(Exception):
    """A name or an answer that nothing can be made of."""


def split(spec: str) -> dict[str, str | None]:
    """Name, architecture and version of what a user wants.

    :raises PackageError: it is no name of a package. dpkg would take it for a pattern or an option.
    """
    found = SPEC.fullmatch(spec)
    if not found:
        raise PackageError(f"name: '{spec}' is no name of a package")
    return found.groupdict()


def query(names: list[str]) -> list[tuple[str, str, str]]:
    """Name, architecture and version of each package that is installed, in one call.

    :raises PackageError: dpkg cannot tell.
    """
    words = ["dpkg-query", "--show", f"--showformat={FORMAT}", "--", *names]
    try:
        answer = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise PackageError(f"dpkg-query: {error.strerror}; packages are managed on Debian and its kin only") from error
    if answer.returncode not in (0, 1):  # 1: it does not know some of them
        raise PackageError(f"dpkg-query: {answer.stderr.strip()}")
    lines = [line.split(" ") for line in answer.stdout.splitlines()]
    return [(name, architecture, version) for name, architecture, version, status in lines if status == "installed"]


def missing(specs: list[str]) -> list[str]:
    """Those of the wanted packages that are not installed, or not as they are wanted."""
    wanted = {spec: split(spec) for spec in specs}
    # dpkg is of the host's own architecture.
    installed = query(list(dict.fromkeys(["dpkg", *(each["name"] for each in wanted.values())])))
    own = {architecture for name, architecture, _version in installed if name == "dpkg"}

    def is_there(name: str, architecture: str | None, version: str | None) -> bool:
        architectures = own if architecture in (None, "native") else {architecture}
        return any(
            found == name
            and (architecture == "any" or of in {*architectures, "all"})
            and fnmatch.fnmatchcase(number, version or "*")
            for found, of, number in installed
        )

    return [spec for spec, each in wanted.items() if not is_there(**each)]


def main() -> None:
    module = AnsibleModule(
        argument_spec={"name": {"type": "list", "elements": "str", "required": True}},
        supports_check_mode=True,
    )
    names = module.params["name"]
    try:
        lacking = missing(names) if names else []
    except PackageError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, missing=lacking, present=[name for name in names if name not in lacking])


if __name__ == "__main__":
    main()
