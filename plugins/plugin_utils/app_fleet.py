# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Apps on several hosts behind balancers: where an app lives, what its hosts and balancers tell each other.

The hosts of an app have Nginx, the static files and the app. A balancer in front of them is the edge: it has the
app's certificate, its limits and its redirects, and passes what is left to the Nginx of one of the hosts, at its
fleet address.

C(apps) are resolved ones. C(hostvars) are those of the inventory's hosts, for their addresses and ports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible.module_utils.parsing.convert_bool import BOOLEANS
from ansible_collections.djangofleet.stack.plugins.plugin_utils.app_servers import address_of
from ansible_collections.djangofleet.stack.plugins.plugin_utils.problems import nearest, problem, shown
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import spec_of

GROUP = "app"  # the group of the hosts that may run apps
BALANCERS = "balancer"
READY = "/run/djangofleet/ready"
SERVING = "/.well-known/djangofleet/serving"
# Of what an app says about Nginx, what its own hosts do: they have the files and the app. The balancer does the rest.
INNER = (
    *(
        "app_locations",
        "buffering",
        "cache",
        "client_max_body_size",
        "error_pages",
        "forwarded_proto_header",
        "headers",
    ),
    *("locations", "maintenance", "media", "proxy_read_timeout", "request_buffering", "static"),
)
# Both: a request passes by both.
BOTH = ("app_locations", "buffering", "client_max_body_size", "headers", "proxy_read_timeout", "request_buffering")
KEPT = ("keepalive", "keepalive_timeout")  # connections to the app, not to its hosts


# Where an app lives


def hosts_of(app: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """The hosts of an app in the inventory's order. The first is its primary, whatever --limit says."""
    everywhere = list(groups.get(GROUP, []))
    named = _named(app.get("hosts"), groups)
    return everywhere if named is None else [host for host in everywhere if host in named]


def _named(given: Any, groups: Mapping[str, Sequence[str]]) -> set[str] | None:
    """The hosts that an app names, itself or by their groups; None where it names none, which means all."""
    if given is None:
        return None
    words = [given] if isinstance(given, str) else given
    if not isinstance(words, (list, tuple)):
        return None
    return {host for word in words if isinstance(word, str) for host in groups.get(word, [word])}


def balancers_of(hosts: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """The balancers in front of an app with these hosts; none where its hosts are balancers themselves."""
    balancers = list(groups.get(BALANCERS, []))
    return [] if set(hosts) & set(balancers) else balancers


def apps_here(apps: Sequence[Mapping[str, Any]], resolved: Sequence[Mapping[str, Any]], host: str) -> list[Any]:
    """Those of some apps, as the inventory has them, that live on a host."""
    names = [app["name"] for app in resolved if host in app["hosts"]]
    return [app for app in apps if app.get("name") in names]


def apps_elsewhere(resolved: Sequence[Mapping[str, Any]], paths: Sequence[str], host: str) -> list[dict[str, str]]:
    """The apps that a host has and that the inventory has on other hosts alone, to be removed as one that is absent.

    :param paths: the app.json of each app of the host.
    """
    there = [path.split("/")[-2] for path in paths]
    return [
        {"name": app["name"], "state": "absent"}
        for app in resolved
        if app["name"] in there and host not in app["hosts"]
    ]


def sites_have_left(resolved: Sequence[Mapping[str, Any]], paths: Sequence[str], host: str) -> bool:
    """Whether all sites that a host serves are of apps that the inventory has elsewhere, so that none has to be left.

    :param paths: the files of the sites.
    """
    names = [path.split("/")[-1].removesuffix(".conf") for path in paths]
    elsewhere = [app["name"] for app in resolved if host not in [*app["hosts"], *app["balancers"]]]
    return bool(names) and set(names) <= set(elsewhere)


# What hosts and balancers tell each other


def inner_site(
    site: Mapping[str, Any], app: Mapping[str, Any], hostvars: Mapping[str, Any], host: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The site of an app on one of its hosts behind balancers: they alone reach it, and do what an edge does.

    It answers over TLS and without it, so that a balancer may turn from one to the other at any moment.

    :param site: the site of an app that stands alone.
    :returns: the site, and what the app says that goes over it.
    """
    addresses = list(filter(None, peers(app, hostvars, host).values()))
    fronts = [address for name in app["balancers"] if (address := address_of(name, hostvars))]
    itself = [address_of(host, hostvars), "127.0.0.1", "::1"]
    others = {key: value for key, value in app["nginx"].items() if key in INNER}
    if kept := {key: value for key, value in app["nginx"].get("upstream", {}).items() if key in KEPT}:
        others["upstream"] = kept
    found = {
        **site,
        "redirect_to_https": False,
        "hsts": {"enabled": False},
        "connections_per_address": 0,
        # Whatever the firewall lets in: what keeps visitors out is on the balancer.
        "peers": list(dict.fromkeys(filter(None, [*fronts, *addresses, *itself]))),
    }
    if len(app["hosts"]) > 1:
        allowed = "".join(f"allow {address}; " for address in addresses)
        found["ready_file"] = f"{READY}/{app['name']}"
        served = f"{allowed}deny all; default_type application/json; alias {app['home']}/serving.json;"
        mine = [{"path": SERVING, "match": "exact", "config": served}]
        others["locations"] = [*mine, *others.get("locations", [])]
    return found, others


def balancer_site(
    site: Mapping[str, Any], app: Mapping[str, Any], hostvars: Mapping[str, Any], tls: bool, authority: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The site of an app on a balancer.

    :param site: the site of an app that stands alone.
    :param authority: the file of the authority that signs what the app's hosts show.
    :returns: the site, and what the app says that goes over it.
    """
    servers = {host: server for host in app["hosts"] if (server := server_of(host, hostvars, tls))}
    health = {key: app["health"][key] for key in ("enabled", "path", "status_min", "status_max")}
    upstream = {
        "servers": list(servers.values()),
        "server_options": [
            {"address": server, "host": host, "max_fails": 1, "fail_timeout": "2s"} for host, server in servers.items()
        ],
        "connect_timeout": "1s",
        "health": health,
        **({"tls": {"authority_file": authority}} if tls else {}),
    }
    given = {key: value for key, value in app["nginx"].items() if key not in INNER or key in BOTH}
    further = {key: value for key, value in given.pop("upstream", {}).items() if key not in KEPT}
    found = {**{key: site[key] for key in ("name", "domains", "certificate", "open_paths")}, "upstream": upstream}
    if "server_options" in further:
        words = words_of(servers, hostvars)
        named = {words.get(entry.get("address")): entry for entry in further["server_options"]}
        further["server_options"] = [
            {**entry, **named.get(entry["host"], {}), "address": entry["address"]}
            for entry in upstream["server_options"]
        ]
    return found, {**given, **({"upstream": further} if further else {})}


def words_of(hosts: Iterable[str], hostvars: Mapping[str, Any]) -> dict[str, str]:
    """The words by which C(server_options) may mean a host, its name or where it answers, each with the host."""
    return {word: host for host in hosts for word in (host, *(server_of(host, hostvars, tls) for tls in (True, False)))}


def server_of(host: str, hostvars: Mapping[str, Any], tls: bool) -> str:
    """Where the Nginx of a host answers balancers, as address:port; empty where the inventory does not say."""
    address = address_of(host, hostvars)
    if not address:
        return ""
    return (
        f"[{address}]:{port_of(host, hostvars, tls)}" if ":" in address else f"{address}:{port_of(host, hostvars, tls)}"
    )


def port_of(host: str, hostvars: Mapping[str, Any], tls: bool) -> int:
    """The port on which the Nginx of a host answers balancers."""
    name = "nginx_https_port" if tls else "nginx_http_port"
    return int((hostvars.get(host) or {}).get(name, spec_of("nginx")[name]["default"]))


def peers(app: Mapping[str, Any], hostvars: Mapping[str, Any], host: str) -> dict[str, str]:
    """The other hosts of an app behind balancers, each with its address."""
    if not app["balancers"] or host not in app["hosts"]:
        return {}
    return {name: address_of(name, hostvars) for name in app["hosts"] if name != host}


def peers_of(
    apps: Sequence[Mapping[str, Any]], name: str, hostvars: Mapping[str, Any], host: str, tls: bool = True
) -> dict[str, Any]:
    """The other hosts of the app of that name behind balancers, each with its address, and the port they answer on.

    :returns: C(hosts) and C(port); no hosts where it stands alone.
    """
    found = next((app for app in apps if app["name"] == name), None)
    hosts = {host: address for host, address in peers(found, hostvars, host).items() if address} if found else {}
    return {"hosts": hosts, "port": port_of(next(iter(hosts), host), hostvars, tls)}


def real_ip(apps: Sequence[Mapping[str, Any]], hostvars: Mapping[str, Any], host: str) -> dict[str, Any]:
    """Whom the Nginx of a host believes about the client: the balancers in front of it; empty where there is none."""
    found = [name for app in apps if host in app["hosts"] for name in app["balancers"]]
    addresses = [address for name in dict.fromkeys(found) if (address := address_of(name, hostvars))]
    return {"trusted": addresses, "request_id": True} if addresses else {}


def openings(
    apps: Sequence[Mapping[str, Any]],
    hostvars: Mapping[str, Any],
    host: str,
    ports: Sequence[Any],
    has_own: bool,
    is_behind: bool = False,
) -> dict[str, Any]:
    """What the firewall of a host opens for its Nginx.

    :param ports: that it listens on.
    :param has_own: whether it serves sites that no app gives it.
    :param is_behind: whether there are balancers and it is none: what its Nginx has left when all apps have gone is
        for nobody.
    :returns: the C(ports) that are open to everybody, and the C(rules) for balancers and the app's other hosts.
    """
    here = [app for app in apps if host in [*app["hosts"], *app["balancers"]]]
    if is_behind and not here and not has_own:
        return {"ports": [], "rules": []}
    if has_own or not here or not all(app["balancers"] and host in app["hosts"] for app in here):
        return {"ports": list(dict.fromkeys(ports)), "rules": []}
    names = [name for app in here for name in [*app["balancers"], *(each for each in app["hosts"] if each != host)]]
    sources = [address for name in dict.fromkeys(names) if (address := address_of(name, hostvars))]
    comment = "Nginx, for the balancers and the other app hosts"
    rules = [{"port": str(port), "sources": sources, "comment": comment} for port in dict.fromkeys(ports)]
    return {"ports": [], "rules": rules if sources else []}


# What is wrong


def host_problems(
    app: Mapping[str, Any], where: str, groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Any]
) -> Iterator[str]:
    """What is wrong with where an app lives, and with how its balancers reach it.

    :param app: as the inventory has it.
    """
    everywhere, known = list(groups.get(GROUP, [])), [*groups, *groups.get("all", [])]
    given = app.get("hosts")
    words = [given] if isinstance(given, str) else given if isinstance(given, (list, tuple)) else []
    for word in words:
        if word not in known:
            meant = nearest(str(word), known)
            yield problem(
                f"{where}.hosts", word, f"{shown(meant)}, or another" if meant else "a host or a group of the inventory"
            )
    missing = sorted((_named(given, groups) or set()) - set(everywhere))
    strangers = [host for host in missing if host in groups.get("all", [])]
    if strangers:
        yield (
            f"{where}.hosts: {', '.join(strangers)}: not in the group {GROUP}, and apps run on its hosts alone; put "
            "them there, or leave them out"
        )
    hosts = hosts_of(app, groups)
    if given is not None and not hosts and not missing:
        yield f"{where}.hosts: names no host; give some of the group {GROUP}, or leave it out for all of them"
    if given is None and not hosts and groups.get(BALANCERS):
        yield f"{where}.hosts: none is in the group {GROUP}, and the balancers have none to ask; put one there"
    yield from _balancer_problems(where, hosts, groups, hostvars)
    if balancers_of(hosts, groups):
        yield from _option_problems(app, f"{where}.nginx.upstream.server_options", hosts, hostvars)


def _option_problems(
    app: Mapping[str, Any], where: str, hosts: Sequence[str], hostvars: Mapping[str, Any]
) -> Iterator[str]:
    """Options of servers that would be left out of the balancers without a word, since they mean none of the hosts."""
    nginx = app.get("nginx")
    upstream = nginx.get("upstream") if isinstance(nginx, Mapping) else None
    given = upstream.get("server_options", []) if isinstance(upstream, Mapping) else []
    if not isinstance(given, (list, tuple)) or not all(isinstance(entry, Mapping) for entry in given):
        yield problem(where, given, f"a list such as [{{address: {hosts[0]}, weight: 2}}]")
        return
    words = words_of(hosts, hostvars)
    seen = set()
    for number, entry in enumerate(given):
        host = words.get(str(entry.get("address")))
        if not host or host in seen:
            wish = "each host once" if host else f"one of the app's hosts: {', '.join(hosts)}"
            yield problem(f"{where}[{number}].address", entry.get("address"), wish)
        seen.add(host)


def separate_problems(where: str, hosts: Sequence[str], groups: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Hosts that are to be sites of their own, and over which balancers spread the visitors of one."""
    if len(hosts) > 1 and (balancers := balancers_of(hosts, groups)):
        yield (
            f"allow_separate_hosts: is on, and {', '.join(balancers)} spreads the visitors of {where} over "
            f"{', '.join(hosts)}; leave it out, or give the app one host"
        )


def _balancer_problems(
    where: str, hosts: Sequence[str], groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Any]
) -> Iterator[str]:
    balancers = list(groups.get(BALANCERS, []))
    both = [host for host in hosts if host in balancers]
    if both and set(hosts) != set(both):
        yield (
            f"{where}.hosts: {', '.join(both)} is a balancer too, in front of itself and of the others; take it out of "
            f"one of the groups {GROUP} and {BALANCERS}"
        )
    elif both or not balancers or not hosts:
        return
    for host in hosts:
        if host not in groups.get("web", []):
            yield (
                f"{where}.hosts: {host} is not in the group web, and {', '.join(balancers)} passes requests to the "
                "Nginx of the app's hosts; put it there"
            )
    for host in [*hosts, *balancers]:
        if not address_of(host, hostvars):
            yield (
                f"fleet_address: is missing for {host}, while {', '.join(balancers)} passes requests to the hosts of "
                f"{where}; give the private address by which these hosts reach each other"
            )
        # What is no boolean would be taken for false, and requests would pass without encryption.
        tls = (hostvars.get(host) or {}).get("fleet_tls_enabled", True)
        if str(tls).lower() not in BOOLEANS:
            yield problem("fleet_tls_enabled", tls, f"true or false ({host})")
