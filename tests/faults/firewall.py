"""Faults in the firewall."""

from tests.faults.mutant import Mutant

_CHANGE = "abctl/firewall/change.py"
_POLICY, _RULES = "abctl/firewall/policy.py", "abctl/firewall/rules.py"
_ON_POLICY, _ON_CHANGE = "tests/test_firewall.py::test_", "tests/test_firewall_change.py::test_"
_ON_PACKETS = "tests/test_firewall_packets.py::test_"

MUTANTS = (
    Mutant(
        "ranges of ports are looked up in a set that is empty for a moment",
        _RULES,
        "    return tuple((item,) for item in ranges)",
        "    return (ranges,)",
        (f"{_ON_PACKETS}while_rules_are_replaced_nothing_is_open_that_is_closed_or_closed_that_is_open",),
    ),
    Mutant(
        "prefixes of a rule that drops are looked up in a set that is empty for a moment",
        _RULES,
        "    return tuple(Addresses((network,), addresses.label) for network in addresses.networks)",
        "    return (addresses,)",
        (f"{_ON_PACKETS}while_rules_are_replaced_nothing_is_open_that_is_closed_or_closed_that_is_open",),
    ),
    Mutant(
        "rules on approval are loaded before what puts them back is started",
        _CHANGE,
        "            host.reverter.arm(seconds)\n            host.filter.load(commands)\n",
        "            host.filter.load(commands)\n            host.reverter.arm(seconds)\n",
        (f"{_ON_CHANGE}wherever_loading_ends_the_old_rules_are_there_or_come_back",),
    ),
    Mutant(
        "nothing puts rules back that nobody confirmed",
        _CHANGE,
        "            host.reverter.arm(seconds)\n",
        "",
        (f"{_ON_CHANGE}rules_on_approval_are_put_back_when_nobody_confirms",),
    ),
    Mutant(
        "rules that are confirmed are put back all the same",
        _CHANGE,
        "        host.notebook.write(replace(memory, pending=None))\n        host.reverter.disarm()\n",
        "",
        (f"{_ON_CHANGE}rules_that_are_confirmed_stay",),
    ),
    Mutant(
        "a second attempt is put back to the first",
        _CHANGE,
        "waiting = memory.pending or Pending(0.0, text, memory.wanted)",
        "waiting = Pending(0.0, text, memory.wanted)",
        (
            f"{_ON_CHANGE}a_second_attempt_is_put_back_to_what_was_there_before_the_first_and_has_its_own_time",
        ),
    ),
    Mutant(
        "rules are replaced on approval though the old ones could not be put back",
        _CHANGE,
        "        _check_way_back(host, waiting.before, found)\n        pending",
        "        pending",
        (f"{_ON_CHANGE}what_could_not_be_put_back_is_not_replaced_on_approval",),
    ),
    Mutant(
        "how wide an accept is is not looked at",
        _POLICY,
        "        _check_width(making, where, form)\n",
        "        pass\n",
        (f"{_ON_POLICY}how_wide_an_accept_may_be_is_for_the_policy_to_say",),
    ),
    Mutant(
        "an ICMP type that begins nothing is taken for an error about a connection",
        "abctl/firewall/icmp.py",
        "    return State.RELATED if number in _ERRORS[protocol] else State.INVALID",
        "    return State.RELATED",
        (f"{_ON_PACKETS}types_that_begin_nothing_are_invalid_as_the_model_says",),
    ),
    Mutant(
        "a host without a usable policy is open",
        "abctl/firewall/basics.py",
        "Rule(chain=chain, action=Action.DROP, name=END)",
        "Rule(chain=chain, action=Action.ACCEPT, name=END)",
        (f"{_ON_POLICY}a_host_without_a_usable_policy_can_be_reached_and_upgraded_and_no_more",),
    ),
)
