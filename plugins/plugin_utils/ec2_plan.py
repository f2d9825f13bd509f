# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is to be done so that EC2 has what an inventory declares: created, changed in place, removed, or refused.

C(found) is what djangofleet.stack.ec2_survey tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.djangofleet.stack.plugins.plugin_utils import (
    ec2_changes,
    ec2_network,
    ec2_prices,
    ec2_refusals,
    ec2_removal,
    ec2_volumes,
)
from ansible_collections.djangofleet.stack.plugins.plugin_utils.ec2_state import KINDS, Found, State


def plan(options: Mapping[str, Any], found: Found) -> dict[str, Any]:
    """All that is to be done, and what of it can be done now.

    :param found: empty where no account could be asked: as if there were nothing.
    :returns: C(steps), those of C(todo) by kind, C(refusals), C(notes), C(machines) and C(costs).
    """
    state = State(options, found)
    absent = options["ec2_state"] == "absent"
    steps = list(ec2_removal.removal(state) if absent else ec2_changes.changes(state))
    refusals = list(ec2_refusals.removal_refusals(state)) if absent else list(ec2_refusals.refusals(state))
    machines = [] if absent else state.machines
    volumes = [] if absent else ec2_volumes.paid(state)
    has_nat = not absent and ec2_network.wants_nat(state)
    addresses = sum(machine["public"] or machine["elastic"] for machine in machines) + has_nat
    costs = ec2_prices.costs(machines, volumes, addresses, has_nat, options["ec2_prices"])
    return {
        "steps": steps,
        "todo": {kind: [each for each in steps if each["kind"] == kind and each["ready"]] for kind in KINDS},
        "refusals": refusals,
        "notes": [] if absent else list(ec2_refusals.notes(state)),
        "machines": machines,
        "month": ec2_prices.total(costs),
        "costs": ec2_prices.lines(costs, options["ec2_region"]) if costs else [],
    }
