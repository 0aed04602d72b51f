"""All that is fuzzed."""

from tests.fuzz import disks, evidence, http, releases, streams, trust
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (releases, streams, http, disks, trust, evidence)
    for target in module.TARGETS
}
