"""Reports of the firewall's commands, for the tests of their forms."""

from collections.abc import Iterator

from abctl.cli.describe_firewall import describe_decision, describe_diff, describe_policy
from abctl.cli.report import Report
from abctl.cli.report_firewall import FirewallApplyReport, FirewallCheckReport
from abctl.firewall.decide import decide
from abctl.firewall.drift import find_drift
from abctl.firewall.loaded import parse_loaded
from abctl.firewall.packet import parse_packet
from abctl.firewall.render import make_objects
from tests.firewalls import hostos, read_shipped


def list_firewall_reports() -> Iterator[tuple[str, Report]]:
    policy, other = hostos(), read_shipped("hostos-wide")
    wanted, found = parse_loaded(make_objects(policy.rules)), parse_loaded(make_objects(other.rules))
    assert wanted
    assert found
    yield "firewall", describe_policy(policy, wanted, loaded=True)
    yield "firewall", describe_policy(other, None, loaded=None)
    for kernel in (True, False):
        yield (
            "firewall-check",
            FirewallCheckReport(
                policy="hostos",
                rules=40,
                kernel=kernel,
                kernel_problem=None if kernel else "nft may not do this: run as root",
                remarks=other.remarks,
            ),
        )
    for seconds, emergency in ((60, None), (None, "firewall.toml is not TOML")):
        yield (
            "firewall-apply",
            FirewallApplyReport(
                policy="hostos", rules=40, seconds=seconds, emergency=emergency, remarks=("a word",)
            ),
        )
    yield "firewall-diff", describe_diff("hostos", found, find_drift(wanted, found))
    yield "firewall-diff", describe_diff("hostos", None, find_drift(wanted, None))
    for sentence in ("tcp from 192.0.2.7 to port 22", "ping from 192.0.2.7", "tcp from 10.1.2.3 to port 22"):
        packet = parse_packet(sentence)
        yield (
            "firewall-explain",
            describe_decision("hostos", packet, decide(policy.rules, packet), policy.rules),
        )
