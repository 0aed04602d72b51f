"""Start, stop and keep the guest: by the service that watches over it, or here where it does not run."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

from abctl.cli.guest_host import LiveGuest, is_watched, own_guest
from abctl.cli.report_guest import GuestDoneReport
from abctl.cli.wiring import Target
from abctl.core.guest_state import GuestState, Phase
from abctl.errors import AbctlError, GuestNotReady, GuestNotRunning, NoHypervisor, ToolFailed
from abctl.host import guest_file
from abctl.vm.description import Description
from abctl.vm.keeper import Keeper

log = logging.getLogger(__name__)

_BY_ADMIN = "an admin stopped it"
_GRACE = 60.0  # seconds that the service may take beyond what the guest may


def keep_guest(target: Target) -> None:
    """Keep the guest running until SIGTERM or Ctrl-C, then have it power off."""
    host = LiveGuest.of(target)
    host.describe()
    with own_guest(host.root, as_service=True):
        keeper = Keeper(host)
        try:
            keeper.run()
        except KeyboardInterrupt:
            host.notifier.stopping()
            shut_down(host, keeper)


def shut_down(host: LiveGuest, keeper: Keeper) -> None:
    """End the guest, with all patience; a second signal ends it at once."""
    try:
        limit = None
        try:
            _stop(host, keeper, limit)
        except KeyboardInterrupt:
            _stop(host, keeper, 0.0)
        keeper.tell_stopped("the service was stopped")
    except AbctlError as error:
        log.error("the guest could not be stopped: %s", error)


def _stop(host: LiveGuest, keeper: Keeper, limit: float | None) -> None:
    """Stop the guest; libvirt's daemon may come back meanwhile."""
    until = host.since_boot() + _GRACE
    while True:
        try:
            keeper.stop("the host asked it to power off", limit=limit)
            return
        except NoHypervisor:
            if host.since_boot() > until:
                raise
            host.wait(1.0)


def start_guest(target: Target, *, wait: bool) -> GuestDoneReport:
    """Start the guest; raise GuestNotReady where it does not get healthy."""
    host = LiveGuest.of(target)
    description = host.describe()
    if is_watched(host.root):
        before = host.last_state()
        guest_file.release(host.root)
        state = wait_until_ready(host, description, before) if wait else host.last_state()
        return _report(description, state, "the service starts it" if not wait else None)
    with own_guest(host.root):
        guest_file.release(host.root)
        keeper = Keeper(host, tries=1)
        if wait:
            return _report(description, keeper.start_and_wait())
        is_new = keeper.start()
        said = "it was started" if is_new else "it runs already"
        return _report(description, host.last_state(), said)


def stop_guest(target: Target, *, force: bool) -> GuestDoneReport:
    """Stop the guest, by its service where it is watched; raise GuestNotRunning where it does not run."""
    host = LiveGuest.of(target)
    description = host.describe()
    if is_watched(host.root):
        state = hold_guest(host, description, _BY_ADMIN, force=force)
        return _report(description, state, f"{description.name} does not run; its service leaves it so")
    with own_guest(host.root):
        keeper = Keeper(host)
        forced = keeper.stop(_BY_ADMIN, limit=0.0 if force else None)
        if forced is None:
            raise GuestNotRunning(f"{description.name} does not run: there is nothing to stop")
        keeper.tell_stopped(_BY_ADMIN)
        did = "was ended" if forced else "has powered off"
        return _report(description, host.last_state(), f"{description.name} {did}", forced=forced)


def hold_guest(host: LiveGuest, description: Description, why: str, *, force: bool = False) -> GuestState:
    """Have the service stop the guest and leave it so; return its word that it did."""
    guest_file.hold(why, host.root)
    return await_held(host, description, force=force)


def await_held(host: LiveGuest, description: Description, *, force: bool = False) -> GuestState:
    """Wait until the service has obeyed the hold that is there; return its word that it did."""
    asked = host.since_boot()
    if force:
        with contextlib.suppress(NoHypervisor):  # the service tries on
            domain = host.hypervisor.find(description.name, description.uuid)
            if domain is not None and domain.tag is not None and domain.is_active:
                host.hypervisor.destroy(domain)
    limit = description.life.stop_within + _GRACE

    def is_held(state: GuestState) -> bool:
        # What it said before may be of an earlier hold, and it may be starting the guest by now.
        return state.phase is Phase.HELD and state.beat > asked

    return _await(host, is_held, limit, "stop the guest")


def wait_until_ready(host: LiveGuest, description: Description, before: GuestState | None) -> GuestState:
    """Wait for the service to get the guest healthy; raise GuestNotReady where it does not.

    ``before`` is what the service said last: what it said of an earlier start does not count.
    """
    life = description.life
    limit = life.tries * (life.ready_within + life.stop_within + _GRACE)
    runs = before is not None and before.phase is not Phase.HELD

    def is_decided(state: GuestState) -> bool:
        is_new = runs or before is None or state.run != before.run
        is_stuck = state.phase is Phase.WAITING and state.failed >= life.tries
        return is_new and (state.phase in (Phase.READY, Phase.NOT_READY) or is_stuck)

    state = _await(host, is_decided, limit, "start the guest")
    if state.phase is not Phase.READY:
        raise GuestNotReady(f"{description.name} is not healthy: {state.why}")
    return state


def _await(host: LiveGuest, is_done: Callable[[GuestState], bool], limit: float, what: str) -> GuestState:
    """Return the first word of the service that will do."""
    until = host.since_boot() + limit
    while host.since_boot() < until:
        state = host.last_state()
        if state is not None and is_done(state):
            return state
        if not is_watched(host.root):
            raise ToolFailed(f"the service did not {what}, for it ended: see 'systemctl status abctl-guest'")
        host.sleep(0.3)
    raise ToolFailed(f"the service did not {what} within {limit:.0f} s: see 'systemctl status abctl-guest'")


def _report(
    description: Description, state: GuestState | None, said: str | None = None, *, forced: bool = False
) -> GuestDoneReport:
    runs = f" slot set {state.slot_set}" if state and state.slot_set else ""
    version = f" ({state.version})" if state and state.version else ""
    return GuestDoneReport(
        name=description.name,
        phase=state.phase if state else Phase.UNKNOWN,
        sentence=said or f"{description.name} runs{runs}{version} and says that it is healthy",
        slot_set=state.slot_set if state else None,
        version=state.version if state else None,
        forced=forced,
    )
