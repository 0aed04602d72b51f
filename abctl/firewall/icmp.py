"""The types of ICMP and ICMPv6 by nft's names, and what connection tracking makes of them."""

from collections.abc import Mapping

from abctl.firewall.rules import Protocol, State

TYPE_MAX = 255
ECHO_REQUEST, ECHO_REQUEST_6 = 8, 128
REDIRECT, REDIRECT_6 = 5, 137
LISTENER_QUERY, LISTENER_REPORT, LISTENER_DONE, LISTENER_REPORT_2 = 130, 131, 132, 143
ROUTER_SOLICIT, ROUTER_ADVERT, NEIGHBOR_SOLICIT, NEIGHBOR_ADVERT = 133, 134, 135, 136

TYPES: Mapping[Protocol, Mapping[str, int]] = {
    Protocol.ICMP: {
        "echo-reply": 0,
        "destination-unreachable": 3,
        "source-quench": 4,
        "redirect": REDIRECT,
        "echo-request": ECHO_REQUEST,
        "router-advertisement": 9,
        "router-solicitation": 10,
        "time-exceeded": 11,
        "parameter-problem": 12,
        "timestamp-request": 13,
        "timestamp-reply": 14,
        "info-request": 15,
        "info-reply": 16,
        "address-mask-request": 17,
        "address-mask-reply": 18,
    },
    Protocol.ICMPV6: {
        "destination-unreachable": 1,
        "packet-too-big": 2,
        "time-exceeded": 3,
        "parameter-problem": 4,
        "echo-request": ECHO_REQUEST_6,
        "echo-reply": 129,
        "mld-listener-query": LISTENER_QUERY,
        "mld-listener-report": LISTENER_REPORT,
        "mld-listener-done": LISTENER_DONE,
        "nd-router-solicit": ROUTER_SOLICIT,
        "nd-router-advert": ROUTER_ADVERT,
        "nd-neighbor-solicit": NEIGHBOR_SOLICIT,
        "nd-neighbor-advert": NEIGHBOR_ADVERT,
        "nd-redirect": REDIRECT_6,
        "router-renumbering": 138,
        "ind-neighbor-solicit": 141,
        "ind-neighbor-advert": 142,
        "mld2-listener-report": LISTENER_REPORT_2,
    },
}
# Other names that nft prints or people use.
_ALIASES = {"mld-listener-reduction": "mld-listener-done", "unreachable": "destination-unreachable"}

# What connection tracking takes for the first packet of a connection (nf_conntrack_proto_icmp.c and
# nf_conntrack_proto_icmpv6.c), or never tracks; what answers; and what tells of an error.
_NEW = {
    Protocol.ICMP: {8, 13, 15, 17},
    Protocol.ICMPV6: {128, 130, 131, 132, 133, 134, 135, 136, 139, 143},
}
_ANSWERS = {Protocol.ICMP: {0, 14, 16, 18}, Protocol.ICMPV6: {129, 140}}
_ERRORS = {Protocol.ICMP: {3, 4, REDIRECT, 11, 12}, Protocol.ICMPV6: {1, 2, 3, 4, REDIRECT_6}}


def parse_type(protocol: Protocol, text: str | int) -> int:
    """Return the number of a type that is given by name or number; raise ValueError."""
    name = _ALIASES.get(str(text), str(text))
    number = TYPES[protocol].get(name)
    if number is None and name.isdecimal() and name.isascii():
        number = int(name[:4])
    if number is None or not 0 <= number <= TYPE_MAX:
        known = ", ".join(TYPES[protocol])
        raise ValueError(f"{name[:40]!r} is no type of {protocol}: give a number to {TYPE_MAX}, or {known}")
    return number


def name_type(protocol: Protocol, number: int) -> str:
    """Return the name of a type, or its number where it has none."""
    return next((name for name, known in TYPES[protocol].items() if known == number), str(number))


def usual_state(protocol: Protocol, number: int) -> State:
    """Return what connection tracking makes of a packet of this type where all goes as it should."""
    if number in _NEW[protocol]:
        return State.NEW
    if number in _ANSWERS[protocol]:
        return State.ESTABLISHED
    return State.RELATED if number in _ERRORS[protocol] else State.INVALID
