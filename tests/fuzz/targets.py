"""All that is fuzzed."""

from tests.fuzz import agent, disks, evidence, firewall, guest, http, identity, releases, streams, trust
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (agent, releases, streams, http, disks, trust, evidence, identity, firewall, guest)
    for target in module.TARGETS
}
