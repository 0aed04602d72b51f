"""Power on a virtual host: `python -m tests.power_on host.img`, as docs/tutorial.md uses it.

GRUB is the real one, in its emulator, and writes the boot environment of the image. What would run then is
played by abctl's own code, as the units of a host call it: the initramfs leaves its mark, abctl records how
the last trial ended, and the health check that Root brings along is run and noted. Nothing is confirmed.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from abctl.cli.wiring import machine_of
from abctl.core.bootenv import Why
from abctl.core.command_line import parse_command_line
from abctl.core.evidence import Stage
from abctl.core.health import CheckResult, judge
from abctl.core.marks import LINE_SIZE
from abctl.host.disk import open_disk
from abctl.ports import Ports
from abctl.update.operate import come_up, note_stage, settle
from tests.virtual_host import Boot, VirtualHost

_WHY = {
    Why.PRIMARY: "the primary",
    Why.TRIAL: "on trial",
    Why.FALLBACK: "the primary, for the attempts of the trial are used up",
    Why.NO_KERNEL: "for the other slot set holds no kernel",
    Why.LOST: "by its fixed rule, for the boot environment is lost",
    Why.UNSETTLED: "for the last boots of the primary never came up",
}


def power_on(image: Path) -> str:
    """Let GRUB boot the disk, and what is in the slot set come up; return what is to be told."""
    host = VirtualHost(image)
    boot = host.power_on()
    ports = _ports_of(image, boot)
    _leave_mark(ports)
    settle(ports)
    come_up(ports)
    check = _check_health(host)
    note_stage(ports, Stage.CHECKS, checks=[check])
    health = "passes" if not check.is_failure else f"fails: {check.text}"
    return (
        f"GRUB boots slot set {boot.slot_set}, {_WHY[boot.why]}.\n"
        f"{boot.slot_set} is up, and its health check {health}."
    )


def _ports_of(image: Path, boot: Boot) -> Ports:
    """Return the disk as what runs from it sees it, with what GRUB told the kernel."""
    ports = machine_of(open_disk(image), boot.slot_set).ports
    word = parse_command_line(boot.command_line)
    running = replace(ports.running, why=word.why, generation=word.generation, attempts=word.attempts)
    return replace(ports, running=running)


def _leave_mark(ports: Ports) -> None:
    """Do what the initramfs of a trial does."""
    running = ports.running
    if running.why is Why.TRIAL and ports.marks is not None:
        assert running.attempts is not None
        line = f"{running.generation} {running.attempts} kernel"
        ports.marks.overwrite(running.attempts * LINE_SIZE, line.encode().ljust(LINE_SIZE - 1) + b"\n")


def _check_health(host: VirtualHost) -> CheckResult:
    said = host.userland()
    problem = None if said == "healthy" else said.removeprefix("not healthy: ")
    return judge("selftest", problem, required=True, said="it is healthy")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.power_on IMAGE")
    try:
        print(power_on(Path(sys.argv[1])))
    except (AssertionError, subprocess.TimeoutExpired) as error:
        sys.exit(f"power on: {error}")
