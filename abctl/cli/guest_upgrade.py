"""abctl guest upgrade: a release into the guest's inactive slot set, and its trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import click

from abctl.cli.guest_host import LiveGuest, is_watched, own_guest
from abctl.cli.guest_life import await_held, wait_until_ready
from abctl.cli.upgrade import upgrade as upgrade_host
from abctl.cli.wiring import Target
from abctl.core.guest_state import GuestState
from abctl.errors import GuestFellBack, GuestUnfit, NotAdopted
from abctl.host import guest_file
from abctl.vm.description import Description
from abctl.vm.keeper import Keeper

_NO_ADOPT = (
    "its GRUB runs the older system's script, under which nothing can be put on trial: let the guest upgrade "
    "itself, or stop it and say 'abctl --disk {disk} adopt'"
)


def _run(**options: Any) -> int:
    ctx = click.get_current_context()
    target = ctx.obj
    assert isinstance(target, Target)
    host = LiveGuest.of(target)
    description = host.describe()
    disk = host.disk(description)
    if not disk.is_adopted:
        raise NotAdopted(
            f"{description.name} cannot be upgraded from here: {_NO_ADOPT.format(disk=disk.target.name)}"
        )
    ctx.obj = disk.target
    if options["dry_run"]:
        ctx.obj = replace(disk.target, is_shared=True)
        return int(ctx.invoke(upgrade_host, **options, no_reboot=True))
    with _stopped(host, description) as stopped:
        ctx.invoke(upgrade_host, **options, no_reboot=True)
        wanted = disk.look()
        if wanted is None or not wanted.on_trial:
            raise GuestUnfit(f"the guest's disk {disk.target.name} does not say what was put on trial there")
        state = stopped.start_again()
    if state.slot_set is not wanted.slot_set:
        raise GuestFellBack(
            f"{wanted.version} did not get healthy, and {description.name} runs slot set {state.slot_set} "
            f"({state.version}) again: 'abctl guest status' says why"
        )
    click.echo(
        f"Guest      {description.name} runs slot set {state.slot_set} ({state.version}) and says that it is "
        "healthy.\n           It is confirmed when the guest is stopped or started next.",
        err=bool(options["as_json"]),
    )
    return 0


class _Stopped:
    """The guest while it does not run; ``start_again`` has it start and waits until its trial is decided."""

    def __init__(self, host: LiveGuest, start_and_wait: Callable[[], GuestState]) -> None:
        self._host = host
        self._start_and_wait = start_and_wait
        self.is_over = False

    def start_again(self) -> GuestState:
        self.is_over = True
        guest_file.release(self._host.root)  # what is on trial has to run, as after 'abctl guest start'
        return self._start_and_wait()


@contextmanager
def _stopped(host: LiveGuest, description: Description) -> Iterator[_Stopped]:
    """Have the guest stopped meanwhile; where the installation fails, it runs again as before."""
    if is_watched(host.root):
        with ExitStack() as hold:
            hold.enter_context(guest_file.hold_for_upgrade(host.root))
            await_held(host, description)

            def let_go() -> GuestState:
                before = host.last_state()
                hold.close()
                return wait_until_ready(host, description, before)

            yield _Stopped(host, let_go)
        return
    with own_guest(host.root):
        keeper = Keeper(host, tries=1)
        did_run = keeper.runs()
        stopped = _Stopped(host, keeper.start_and_wait)
        try:
            keeper.stop(guest_file.BY_UPGRADE)
            yield stopped
        except BaseException:
            if did_run and not stopped.is_over:
                # One that has heard the power button already goes off all the same.
                keeper.stop(guest_file.BY_UPGRADE)
                keeper.start()
            raise


upgrade = click.Command(
    "upgrade",
    callback=_run,
    params=[option for option in upgrade_host.params if option.name != "no_reboot"],
    short_help="Install a release in the guest and put it on trial.",
    help="""Write a release to the slot set of the guest that does not run, and start the guest on trial.

    What is installed is chosen and proven as by 'abctl upgrade', for the layout of the guest's disk. The
    guest is stopped meanwhile. It is started with the release on trial: where it says that it is healthy, the
    release is kept; where it does not within life.ready_within, it is started again, until the attempts are
    used up and the guest's GRUB goes back to the release before (exit code 76).

    \b
    Examples:
      abctl guest upgrade --dry-run
      abctl guest upgrade --repository file:///media/usb/guestos
      abctl guest upgrade ./2.0.0 --sha256 91ab...
    """,
)
