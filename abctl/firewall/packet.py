"""A packet, and the sentence that describes one: ``tcp from 10.1.2.3 to port 22``."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from abctl.firewall.icmp import name_type, parse_type, usual_state
from abctl.firewall.rules import (
    LOOPBACK,
    PORT_MAX,
    Address,
    Chain,
    Family,
    Protocol,
    State,
    family_of,
)
from abctl.firewall.say import FAMILIES

EPHEMERAL = 50_000  # the source port where none is said
SENTENCE_MAX = 300  # characters
_CHAINS = {
    "in": Chain.INPUT,
    "input": Chain.INPUT,
    "out": Chain.OUTPUT,
    "output": Chain.OUTPUT,
    "forward": Chain.FORWARD,
}
_PROTOCOLS = {str(protocol): protocol for protocol in Protocol} | {"ping": None}
_STATES = {str(state): state for state in State}
_EXAMPLE = "as in 'tcp from 10.1.2.3 to port 22'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """What the rules see of a packet; addresses that are None were not said."""

    chain: Chain
    family: Family
    protocol: Protocol
    source: Address | None = None
    destination: Address | None = None
    port: int | None = None
    source_port: int | None = None
    type: int | None = None
    interface: str = ""
    state: State = State.NEW

    def __str__(self) -> str:
        kind = "" if self.type is None else f" {name_type(self.protocol, self.type)}"
        source = " ".join(_say_end("from", self.source, self.source_port))
        destination = " ".join(_say_end("to", self.destination, self.port))
        words = [
            f"{FAMILIES[self.family]} {self.protocol}{kind}",
            source,
            destination,
            f"on {self.interface}" if self.interface else "",
        ]
        return f"{' '.join(word for word in words if word)}, {self.chain}, {self.state}"


def _say_end(word: str, address: Address | None, port: int | None) -> Iterator[str]:
    if address is not None or port is not None:
        yield word
    if address is not None:
        yield str(address)
    if port is not None:
        yield f"port {port}"


class _Words:
    """The words of a sentence, from left to right."""

    def __init__(self, text: str) -> None:
        if len(text) > SENTENCE_MAX:
            raise ValueError(f"a packet is described in at most {SENTENCE_MAX} characters")
        self._left = text.replace(",", " ").split()

    def next(self) -> str | None:
        return self._left.pop(0) if self._left else None

    def take_address(self) -> Address | None:
        """Return the next word where it is an address."""
        if not self._left:
            return None
        try:
            found = ip_address(self._left[0])
        except ValueError:
            if self._left[0][:1].isdigit() or ":" in self._left[0]:
                raise ValueError(f"{self._left[0][:60]!r} is not an IP address") from None
            return None
        self._left.pop(0)
        return found

    def take_port(self) -> int | None:
        """Return the port that the next two words say, if they do."""
        if self._left[:1] != ["port"]:
            return None
        self._left.pop(0)
        return parse_port(self.next() or "")


def parse_port(text: str) -> int:
    """Return a port; raise ValueError."""
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:6]) <= PORT_MAX):
        raise ValueError(f"{text[:20]!r} is not a port from 1 to {PORT_MAX}")
    return int(text)


@dataclass
class _Said:
    """What a sentence has said so far."""

    chain: Chain | None = None
    protocol: Protocol | None = None
    source: Address | None = None
    destination: Address | None = None
    port: int | None = None
    source_port: int | None = None
    type: str | None = None
    interface: str = ""
    state: State | None = None
    is_ping: bool = False


def parse_packet(text: str) -> Packet:
    """Return the packet that a sentence describes; raise ValueError with what is wrong or missing.

    Words may come in any order: the protocol (for ICMP also its type); ``from`` and ``to``, each with an
    address, ``port N`` or both; ``in`` or ``out`` where the addresses do not say it; ``on INTERFACE``; the
    state of its connection. Without a source port it is an ephemeral one.
    """
    words, said = _Words(text), _Said()
    while (word := words.next()) is not None:
        _read_word(word.lower(), words, said)
    return _make_packet(said)


def _read_word(word: str, words: _Words, said: _Said) -> None:
    match word:
        case "from":
            said.source, said.source_port = words.take_address(), words.take_port()
        case "to":
            said.destination, said.port = words.take_address(), words.take_port()
        case "port":
            said.port = parse_port(words.next() or "")
        case "on":
            said.interface = words.next() or ""
        case "type":
            said.type = words.next() or ""
        case _:
            _read_name(word, said)


def _read_name(word: str, said: _Said) -> None:
    if word in _CHAINS:
        said.chain = _CHAINS[word]
    elif word in _STATES:
        said.state = _STATES[word]
    elif word in _PROTOCOLS:
        said.protocol, said.is_ping = _PROTOCOLS[word], word == "ping"
    elif said.protocol and not said.protocol.has_ports and said.type is None:
        said.type = word
    else:
        raise ValueError(f"{word[:40]!r} is not understood: describe a packet {_EXAMPLE}")


def _make_packet(said: _Said) -> Packet:
    chain = _find_chain(said)
    family = _find_family(said)
    if said.is_ping:
        said.protocol = Protocol.ICMP if family is Family.IPV4 else Protocol.ICMPV6
        said.type = "echo-request"
    protocol = said.protocol
    if protocol is None:
        raise ValueError(f"say the protocol: {', '.join(_PROTOCOLS)}, {_EXAMPLE}")
    if protocol.family not in (None, family):
        raise ValueError(f"{protocol} is not carried by {FAMILIES[family]}")
    number = _check_parts(protocol, said)
    return Packet(
        chain=chain,
        family=family,
        protocol=protocol,
        source=said.source,
        destination=said.destination,
        port=said.port,
        source_port=(said.source_port or EPHEMERAL) if protocol.has_ports else None,
        type=number,
        interface=said.interface,
        state=said.state or (State.NEW if number is None else usual_state(protocol, number)),
    )


def _check_parts(protocol: Protocol, said: _Said) -> int | None:
    """Return the type of an ICMP packet; raise ValueError where a port or type is missing or out of place."""
    if protocol.has_ports:
        if said.type is not None:
            raise ValueError(f"{protocol} has no types, but ports: {_EXAMPLE}")
        if said.port is None:
            raise ValueError(f"say the port that it goes to: 'to port 22', {_EXAMPLE}")
        return None
    if said.port is not None or said.source_port is not None:
        raise ValueError(f"{protocol} has no ports, but types, as in '{protocol} echo-request'")
    if said.type is None:
        raise ValueError(f"say the type, as in '{protocol} echo-request'")
    return parse_type(protocol, said.type)


def _find_chain(said: _Said) -> Chain:
    if said.chain:
        return said.chain
    if (said.source is None) == (said.destination is None):
        if said.interface == LOOPBACK:
            return Chain.INPUT
        raise ValueError(f"say 'in' or 'out', or only where it comes from or goes to, {_EXAMPLE}")
    return Chain.INPUT if said.source else Chain.OUTPUT


def _find_family(said: _Said) -> Family:
    families = {family_of(item) for item in (said.source, said.destination) if item is not None}
    if len(families) > 1:
        raise ValueError("the addresses are of different versions of IP")
    if families:
        return families.pop()
    if said.protocol and said.protocol.family:
        return said.protocol.family
    raise ValueError(f"say an address that it comes from or goes to, {_EXAMPLE}")
