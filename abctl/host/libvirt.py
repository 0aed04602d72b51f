"""libvirt's daemon: domains, their consoles, and USB devices attached to them.

The library is loaded when the first connection is made: a host without a guest need not have it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from abctl.core.guest import (
    METADATA_URI,
    Domain,
    Power,
    Tag,
    find_usb_xml,
    make_usb_xml,
    parse_tag,
)
from abctl.core.problems import clean_text
from abctl.errors import DeviceProblem, GuestNotRunning, NoHypervisor, ToolFailed
from abctl.host.usb import find_usb

if TYPE_CHECKING:
    import libvirt

log = logging.getLogger(__name__)

SYSTEM = "qemu:///system"
_SAID_MAX = 500  # characters
_T = TypeVar("_T")


class Libvirt:
    """One daemon, connected to when it is needed; implements vm.surroundings.Hypervisor.

    Every call raises NoHypervisor where the daemon does not answer, and ToolFailed where it refuses.
    """

    def __init__(self, uri: str = SYSTEM) -> None:
        self.uri = uri
        self._connection: libvirt.virConnect | None = None

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):  # the daemon may be gone
                self._connection.close()
            self._connection = None

    def find(self, name: str, uuid: str) -> Domain | None:
        """Return the domain with this name, or else with this UUID; None where there is neither."""
        with self._asking(f"look for domain {name}") as connection:
            found = _lookup(lambda: connection.lookupByName(name))
            if found is None and uuid:
                found = _lookup(lambda: connection.lookupByUUIDString(uuid))
            return None if found is None else _lookup(lambda: _describe(found))

    def create(self, xml: str) -> None:
        """Start a domain that is forgotten when it ends."""
        with self._asking("start the guest") as connection:
            connection.createXML(xml, _library().VIR_DOMAIN_START_VALIDATE)

    def press_power_button(self, domain: Domain) -> None:
        """Ask the domain by ACPI to power off; one that is off already is no failure."""
        lib = _library()
        with self._asking(f"ask {domain.name} to power off") as connection:
            _unless_off(
                lambda: connection.lookupByUUIDString(domain.uuid).shutdownFlags(
                    lib.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN if self._is_qemu(connection) else 0
                )
            )

    def destroy(self, domain: Domain) -> None:
        """End the domain at once; one that is off already is no failure."""
        with self._asking(f"end {domain.name}") as connection:
            _unless_off(lambda: connection.lookupByUUIDString(domain.uuid).destroy())

    def forget(self, domain: Domain) -> None:
        """Remove the definition of a domain that outlasts its end."""
        lib = _library()
        with self._asking(f"remove the definition of {domain.name}") as connection:
            flags = lib.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM if self._is_qemu(connection) else 0
            connection.lookupByUUIDString(domain.uuid).undefineFlags(flags)

    def xml_of(self, domain: Domain) -> str:
        """Return the domain as it runs."""
        with self._asking(f"look at {domain.name}") as connection:
            return str(connection.lookupByUUIDString(domain.uuid).XMLDesc(0))

    def attach(self, domain: Domain, device: str) -> None:
        """Give the running domain a device; ``device`` is its XML."""
        with self._asking(f"attach a device to {domain.name}") as connection:
            flags = _library().VIR_DOMAIN_AFFECT_LIVE
            connection.lookupByUUIDString(domain.uuid).attachDeviceFlags(device, flags)

    def detach(self, domain: Domain, device: str) -> None:
        """Take a device from the running domain; ``device`` is its XML."""
        with self._asking(f"detach a device from {domain.name}") as connection:
            flags = _library().VIR_DOMAIN_AFFECT_LIVE
            connection.lookupByUUIDString(domain.uuid).detachDeviceFlags(device, flags)

    @contextmanager
    def open_console(self, domain: Domain) -> Iterator[Console]:
        """Open the serial console of a running domain, and take it from whoever has it."""
        with self._asking(f"open the console of {domain.name}") as connection:
            lib = _library()
            stream = connection.newStream(0)
            found = connection.lookupByUUIDString(domain.uuid)
            found.openConsole(None, stream, lib.VIR_DOMAIN_CONSOLE_FORCE)
        try:
            yield Console(stream)
        finally:
            with contextlib.suppress(lib.libvirtError):
                stream.abort()

    def _is_qemu(self, connection: Any) -> bool:
        return bool(connection.getType() == "QEMU")

    @contextmanager
    def _asking(self, what: str) -> Iterator[Any]:
        """Yield the connection; what fails in the block becomes an error of abctl's."""
        lib = _library()
        try:
            if self._connection is None:
                self._connection = lib.open(self.uri)
            yield self._connection
        except lib.libvirtError as error:
            said = clean_text(" ".join(str(error.get_error_message() or error).split()))[:_SAID_MAX]
            if self._is_lost(error):
                self.close()
                raise NoHypervisor(
                    f"libvirt's daemon does not answer at {self.uri} ({said}): see "
                    "'systemctl status libvirtd'"
                ) from error
            raise ToolFailed(f"libvirt does not {what}: {said}") from error

    def _is_lost(self, error: libvirt.libvirtError) -> bool:
        lib = _library()
        if self._connection is None or error.get_error_domain() == lib.VIR_FROM_RPC:
            return True
        try:
            return not self._connection.isAlive()
        except lib.libvirtError:
            return True


class Console:
    """The serial console of a running domain, as a stream of bytes both ways."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self) -> bytes:
        """Wait for what the guest says; nothing at its end."""
        try:
            data = self._stream.recv(4096)
        except _library().libvirtError:
            return b""
        return data if isinstance(data, bytes) else b""

    def write(self, data: bytes) -> None:
        """Type ``data``; at the guest's end it goes nowhere."""
        with contextlib.suppress(_library().libvirtError):
            self._stream.sendAll(lambda _stream, size, state: state.pop(size), _Typed(data))


class _Typed:
    """Bytes that are taken from the front, piece by piece."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def pop(self, size: int) -> bytes:
        piece, self._data = self._data[:size], self._data[size:]
        return piece


def _library() -> Any:
    """Return the libvirt module; raise NoHypervisor where it is not installed."""
    try:
        import libvirt  # noqa: PLC0415
    except ImportError as error:
        raise NoHypervisor(
            f"the Python module libvirt is not there ({error}): install the package python3-libvirt"
        ) from error
    # Else it prints each error to stderr by itself.
    libvirt.registerErrorHandler(_ignore, None)
    return libvirt


def _ignore(_context: object, _error: object) -> None:
    return None


def _lookup(look: Callable[[], _T]) -> _T | None:
    """Return what ``look`` finds; None where there is no such domain, or no more."""
    lib = _library()
    try:
        return look()
    except lib.libvirtError as error:
        if error.get_error_code() == lib.VIR_ERR_NO_DOMAIN:
            return None
        raise


def _unless_off(act: Callable[[], object]) -> None:
    """Act on a domain; that it is off already, or gone, is as good."""
    lib = _library()
    try:
        act()
    except lib.libvirtError as error:
        if error.get_error_code() not in (lib.VIR_ERR_NO_DOMAIN, lib.VIR_ERR_OPERATION_INVALID):
            raise


def _describe(found: Any) -> Domain:
    state, reason = found.state()
    return Domain(
        name=found.name(),
        uuid=found.UUIDString(),
        power=_power_of(state),
        tag=_tag_of(found),
        is_persistent=bool(found.isPersistent()),
        detail=_detail_of(state, reason),
    )


def _power_of(state: int) -> Power:
    lib = _library()
    if state in (lib.VIR_DOMAIN_SHUTOFF, lib.VIR_DOMAIN_NOSTATE):
        return Power.OFF
    if state == lib.VIR_DOMAIN_SHUTDOWN:
        return Power.STOPPING
    if state in (lib.VIR_DOMAIN_PAUSED, lib.VIR_DOMAIN_PMSUSPENDED, lib.VIR_DOMAIN_CRASHED):
        return Power.PAUSED
    return Power.RUNNING


def _detail_of(state: int, reason: int) -> str:
    lib = _library()
    if state == lib.VIR_DOMAIN_CRASHED:
        return "it crashed"
    if state == lib.VIR_DOMAIN_PMSUSPENDED:
        return "it went to sleep"
    if state != lib.VIR_DOMAIN_PAUSED:
        return ""
    reasons = {
        lib.VIR_DOMAIN_PAUSED_USER: "an admin paused it",
        lib.VIR_DOMAIN_PAUSED_IOERROR: "its disk reported an error",
        lib.VIR_DOMAIN_PAUSED_WATCHDOG: "its watchdog was not fed",
        lib.VIR_DOMAIN_PAUSED_CRASHED: "it crashed",
    }
    return reasons.get(reason, "it is paused")


def _tag_of(found: Any) -> Tag | None:
    lib = _library()
    try:
        return parse_tag(found.metadata(lib.VIR_DOMAIN_METADATA_ELEMENT, METADATA_URI, 0))
    except lib.libvirtError as error:
        if error.get_error_code() == lib.VIR_ERR_NO_DOMAIN:
            raise
        return None


# --- USB devices -----------------------------------------------------------------------------------


def attach_usb(domain: str, vendor: int, product: int, *, uri: str = SYSTEM, root: Path = Path("/")) -> None:
    """Give the running guest ``domain`` the first USB device of this kind that is plugged in.

    Raise DeviceProblem where there is none or the guest has it already, GuestNotRunning, NoHypervisor, or
    ToolFailed with what libvirt says.
    """
    host, found = Libvirt(uri), find_usb(vendor, product, root)
    with contextlib.closing(host):
        running = _find_running(host, domain)
        kind = f"USB device {vendor:04x}:{product:04x}"
        if find_usb_xml(host.xml_of(running), vendor, product) is not None:
            raise DeviceProblem(f"{domain} has a {kind} already: detach it first")
        if found is None:
            raise DeviceProblem(f"no {kind} is plugged in to this host")
        host.attach(running, make_usb_xml(found))


def detach_usb(domain: str, vendor: int, product: int, *, uri: str = SYSTEM) -> None:
    """Take the USB device of this kind from the running guest ``domain``; raises like ``attach_usb``."""
    host = Libvirt(uri)
    with contextlib.closing(host):
        running = _find_running(host, domain)
        device = find_usb_xml(host.xml_of(running), vendor, product)
        if device is None:
            raise DeviceProblem(f"{domain} has no USB device {vendor:04x}:{product:04x}: nothing to detach")
        host.detach(running, device)


def _find_running(host: Libvirt, name: str) -> Domain:
    found = host.find(name, "")
    if found is None or not found.is_active:
        raise GuestNotRunning(f"{name} does not run: start it with 'abctl guest start'")
    return found
