# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters. The apps of the inventory, and what the other roles are told of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.djangofleet.stack.plugins.plugin_utils import (
    app_fleet,
    app_moves,
    app_servers,
    backup,
    fleet_logs,
    nginx_cache,
    rotation,
    verbs,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils import apps as rules
from ansible_collections.djangofleet.stack.plugins.plugin_utils import summary as summaries
from ansible_collections.djangofleet.stack.plugins.plugin_utils.django_problems import is_on_controller


def app_faults(printed: str, apps: Sequence[Mapping[str, Any]]) -> list[str]:
    """The faults of the apps that do not serve."""
    found = summaries.health_of(printed)
    listed = [found[app["name"]] for app in apps if app["name"] in found]
    return [f"{entry['app']}: {line}" for entry in listed if not entry["serves"] for line in summaries.faults_of(entry)]


def apps_problems(
    apps: Any,
    groups: Mapping[str, Sequence[str]],
    name: str = "",
    variables: Mapping[str, Any] | None = None,
    separate: bool = False,
    hostvars: Mapping[str, Any] | None = None,
) -> list[str]:
    """What is wrong with the apps of an inventory, one line each."""
    return rules.apps_problems(apps, groups, name, variables or {}, is_on_controller, separate, hostvars)


def resolve_apps(
    apps: Any, groups: Mapping[str, Sequence[str]], root: str | None = None, partial: bool = False
) -> list[dict[str, Any]]:
    """The apps with all defaults and what follows from them.

    :raises AnsibleFilterError: with all that is wrong with what was given, a line each, unless partial.
    """
    try:
        return rules.resolve_apps(apps, groups, root, partial)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, Callable]:
        return {
            "app_access": app_servers.access,
            "app_backup_address": backup.app_address,
            "app_backup_clusters": backup.app_clusters,
            "app_backup_databases": backup.app_databases,
            "app_backup_files": backup.app_files,
            "app_certificates": rules.app_certificates,
            "app_databases": app_servers.databases,
            "app_faults": app_faults,
            "app_elsewhere": app_fleet.apps_elsewhere,
            "app_listener": app_servers.listener,
            "app_moves": app_moves.moves,
            "app_openings": app_fleet.openings,
            "app_peers": app_fleet.peers_of,
            "app_place": app_servers.place,
            "app_pooler": app_servers.pooler,
            "app_primary": rules.app_primary,
            "app_real_ip": app_fleet.real_ip,
            "app_roles": app_servers.roles,
            "app_rotation": rotation.rotation,
            "app_secrets": app_servers.secrets,
            "app_server": app_servers.server,
            "app_site": summaries.site_of,
            "app_site_cache": nginx_cache.of_app,
            "app_sites": rules.app_sites,
            "app_sites_have_left": app_fleet.sites_have_left,
            "app_users": app_servers.users,
            "app_visits": summaries.visits_of,
            "apps_changing": app_servers.changing,
            "apps_here": app_fleet.apps_here,
            "apps_left": rules.apps_left,
            "apps_problems": apps_problems,
            "apps_selected": rules.apps_selected,
            "apps_selection_problems": rules.selection_problems,
            "apps_settled": app_servers.settled,
            "apps_warnings": rules.apps_warnings,
            "logs_asked": fleet_logs.logs_asked,
            "manage_asked": verbs.manage_asked,
            "manage_report": verbs.manage_report,
            "resolve_apps": resolve_apps,
        }
