"""Packets as bytes, and two network namespaces that they pass between: a host with a firewall, and the world.

The namespaces have no names: they belong to two processes, and are gone when these are.
"""

import json
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from abctl.firewall.loaded import Loaded, list_objects, parse_loaded
from abctl.firewall.packet import Packet
from abctl.firewall.rules import Chain, Family, Protocol
from tests.firewalls import OWN_4, OWN_6

WORKER = Path(__file__).with_name("packet_worker.py")
HOST_4, WORLD_4 = "10.98.0.1", "10.98.0.2"
HOST_6, WORLD_6 = "2001:db8:98::1", "2001:db8:98::2"
_HOST_MAC, _WORLD_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.ICMP: 1, Protocol.ICMPV6: 58}
_WAIT_MAX = 20.0  # seconds


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def make_packet(packet: Packet) -> bytes:
    """Return an IP packet with sound checksums; its addresses have to be said."""
    assert packet.source is not None
    assert packet.destination is not None
    return wrap(packet, make_payload(packet))


def make_payload(packet: Packet) -> bytes:
    match packet.protocol:
        case Protocol.TCP:
            head = struct.pack("!HHIIBBHHH", packet.source_port, packet.port, 1, 0, 0x50, 2, 1024, 0, 0)
            return with_checksum(packet, head, 16)
        case Protocol.UDP:
            head = struct.pack("!HHHH", packet.source_port, packet.port, 12, 0) + b"ping"
            return with_checksum(packet, head, 6)
        case _:
            # What an echo has as its identifier tells one connection from another.
            body = struct.pack("!BBHHH", packet.type, 0, 0, packet.source_port or 1, 1) + bytes(24)
            return with_checksum(packet, body, 2)


def with_checksum(packet: Packet, payload: bytes, place: int) -> bytes:
    pseudo = b""
    if packet.protocol is not Protocol.ICMP:
        assert packet.source is not None
        assert packet.destination is not None
        ends = packet.source.packed + packet.destination.packed
        tail = struct.pack("!IxxxB", len(payload), _NUMBERS[packet.protocol])
        short = struct.pack("!BBH", 0, _NUMBERS[packet.protocol], len(payload))
        pseudo = ends + (short if packet.family is Family.IPV4 else tail)
    found = checksum(pseudo + payload)
    if packet.protocol is Protocol.UDP and not found:
        found = 0xFFFF
    return payload[:place] + struct.pack("!H", found) + payload[place + 2 :]


def wrap(packet: Packet, payload: bytes) -> bytes:
    """Return ``payload`` behind an IP header; the hop limit is that of a neighbour."""
    assert packet.source is not None
    assert packet.destination is not None
    number = _NUMBERS[packet.protocol]
    if packet.family is Family.IPV6:
        head = struct.pack("!IHBB", 6 << 28, len(payload), number, 255)
        return head + packet.source.packed + packet.destination.packed + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, 0, 255, number, 0)
    head += packet.source.packed + packet.destination.packed
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


# --- namespaces -------------------------------------------------------------------------------------


class Space:
    """A network namespace, with a /run of its own, as the process that keeps it."""

    def __init__(self) -> None:
        script = 'mount -t tmpfs -o mode=0755 tmpfs /run && exec "$@"'
        self._process = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", script, "sh", sys.executable, WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self.pid = int(self._read())
        except BaseException:
            self.close()
            raise

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the process in the namespace is gone"
        return line

    def send(self, packets: Sequence[bytes]) -> list[bool]:
        """Send IP packets, and return which of them were let out."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([data.hex() for data in packets]) + "\n")
        self._process.stdin.flush()
        outcomes: list[bool] = json.loads(self._read())
        return outcomes

    def command(self, *command: str | Path) -> list[str]:
        """Return a command as it runs in here."""
        return ["nsenter", "--target", str(self.pid), "--net", "--mount", *map(str, command)]

    def run(self, *command: str | Path, stdin: str = "") -> str:
        """Run a command in here; one that fails fails the test."""
        done = subprocess.run(
            self.command(*command), input=stdin, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def start(self, *command: str | Path) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(*command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()


@dataclass(frozen=True)
class Link:
    """A host and the world, joined by a cable."""

    host: Space
    world: Space

    def load(self, commands: str) -> None:
        self.host.run("nft", "-j", "-f", "-", stdin=commands)

    def read(self) -> Loaded | None:
        """Return what is loaded on the host, by the production parser."""
        done = subprocess.run(
            self.host.command("nft", "-j", "list", "table", "inet", "abctl"),
            capture_output=True,
            text=True,
            check=False,
        )
        return parse_loaded(list_objects(done.stdout)) if done.returncode == 0 else None

    def count(self, chain: Chain) -> list[int]:
        """Return how many packets have met each rule of a chain."""
        loaded = self.read()
        assert loaded
        return [item.packets or 0 for item in loaded.rules[chain]]

    def count_received(self, packets: Sequence[bytes]) -> list[int]:
        """Let the world send packets, and return how many of them met each rule of the host's input."""
        before = self.count(Chain.INPUT)
        self.world.send(packets)
        until = time.monotonic() + _WAIT_MAX
        while True:
            found = [now - then for now, then in zip(self.count(Chain.INPUT), before, strict=True)]
            if sum(found) >= len(packets) or time.monotonic() > until:
                return found


@contextmanager
def link() -> Iterator[Link]:
    """Make both namespaces, with addresses, routes and neighbours that never change."""
    with ExitStack() as stack:
        host, world = Space(), Space()
        stack.callback(host.close)
        stack.callback(world.close)
        host.run(
            *("ip", "link", "add", "eth0", "address", _HOST_MAC, "type", "veth"),
            *("peer", "name", "eth0", "address", _WORLD_MAC, "netns", str(world.pid)),
        )
        _set_up(host, (HOST_4, HOST_6), (WORLD_4, WORLD_6), _WORLD_MAC)
        _set_up(world, (WORLD_4, WORLD_6), (HOST_4, HOST_6), _HOST_MAC)
        for option, network in (("-4", OWN_4), ("-6", OWN_6)):
            host.run("ip", option, "route", "add", "local", str(network), "dev", "lo")
        yield Link(host, world)


def _set_up(space: Space, own: tuple[str, str], other: tuple[str, str], other_mac: str) -> None:
    own_4, own_6 = own
    other_4, other_6 = other
    settings = [
        "net.ipv6.conf.all.accept_ra=0",
        "net.ipv6.conf.eth0.accept_ra=0",
        "net.ipv6.conf.eth0.accept_redirects=0",
        "net.ipv6.conf.eth0.router_solicitations=0",
        "net.ipv6.conf.eth0.accept_dad=0",
        "net.ipv4.conf.all.rp_filter=0",
        "net.ipv4.conf.eth0.rp_filter=0",
    ]
    for setting in settings:
        name, _, value = setting.partition("=")
        space.run("sh", "-c", f"echo {value} > /proc/sys/{name.replace('.', '/')}")
    lines = f"""\
link set lo up
link set eth0 addrgenmode none
link set eth0 up
addr add {own_4}/24 dev eth0
addr add {own_6}/64 dev eth0 nodad
neigh replace {other_4} lladdr {other_mac} dev eth0 nud permanent
neigh replace {other_6} lladdr {other_mac} dev eth0 nud permanent
route add default via {other_4} dev eth0
-6 route add default via {other_6} dev eth0
"""
    for line in lines.splitlines():
        space.run("ip", *line.split())
