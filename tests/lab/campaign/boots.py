"""Power on the disk that a cut left, wait until the host has come to rest, and see whether all is right."""

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from abctl.host.disk import open_disk
from tests.lab.campaign.disks import match_with
from tests.lab.campaign.guest import ask_abctl, gather, wait_rest
from tests.lab.campaign.judge import Told, find_lacking_entry, judge
from tests.lab.campaign.look import Looked, Outcome, find_lost, look, read_memory
from tests.lab.campaign.recording import Recording
from tests.lab.campaign.results import Kind, Result
from tests.lab.machine import Machine
from tests.lab.prepare import copy_sparse
from tests.lab.qemu import Hardware
from tests.lab.server import Server

# One core a machine: with two machines on two cores that is what each gets anyway.
_HARDWARE = Hardware(cores=1)


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where machines run: in ``folder``, which keeps the runs that went wrong, with a release server."""

    folder: Path
    server: Server

    def machine(self, name: str, disk: Path) -> Machine:
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return Machine(folder, disk, _HARDWARE, port=self.server.port)

    def clean(self, name: str, disk: Path, *, keep: bool) -> None:
        disk.unlink(missing_ok=True)
        if not keep:
            shutil.rmtree(self.folder / name, ignore_errors=True)


def boot_cut(shop: Workshop, recording: Recording, disk: Path, so_far: Result, *, go_on: bool) -> Result:
    """Power on ``disk``, which is used up, and complete what is known of its cut; upgrade again if wished."""
    name, began = so_far.name.replace(" ", "-"), time.monotonic()
    with shop.machine(name, disk) as host:
        try:
            result = _follow(host, recording, disk, so_far, go_on=go_on)
        except AssertionError as error:
            result = _with_problem(so_far, f"it did not come to rest: {error}")
        boots = tuple(host.story.names)
    trials = sum(1 for boot in boots if boot.endswith("trial"))
    if recording.plan.is_good and trials > 1 and not result.went_on:
        result = _with_problem(result, f"a good release took {trials} boots to be confirmed")
    shop.clean(name, disk, keep=bool(result.problems))
    return replace(result, boots=boots, seconds=round(time.monotonic() - began, 1))


def _with_problem(result: Result, problem: str) -> Result:
    return replace(result, problems=(*result.problems, problem))


def _follow(host: Machine, recording: Recording, disk: Path, so_far: Result, *, go_on: bool) -> Result:
    plan, expected = recording.plan, Outcome(so_far.outcome)
    host.power_on()
    gathered = gather(host, wait_rest(host))
    host.power_cut("enough seen")
    booted = str(gathered.word.slot_set)
    told = Told(ask_abctl(disk, "--booted", booted, "status"), ask_abctl(disk, "--booted", booted, "history"))
    problems = [*judge(plan, expected, gathered, told), *find_lost(open_disk(disk), plan.primary)]
    version = plan.new if expected is Outcome.CONFIRMED else plan.old
    if not match_with(recording, disk).is_whole(gathered.word.slot_set or plan.primary, version):
        problems.append(f"what runs is not {version} to the byte")
    # A cut may cost the last entry, and no more; what was not over yet is told by who ends it.
    lacking = find_lacking_entry(plan, expected, told)
    lost_entry = bool(lacking) and so_far.is_over
    problems += [lacking] if lacking and not lost_entry else []
    result = replace(
        so_far,
        lost_entry=lost_entry,
        problems=(*so_far.problems, *problems),
        verdict=told.status["verdict"],
        headline=told.status["headline"],
    )
    if not go_on or expected is Outcome.CONFIRMED or result.problems:
        return result
    problem = _upgrade_again(host, recording)
    return replace(_with_problem(result, problem) if problem else result, went_on=not problem)


def _upgrade_again(host: Machine, recording: Recording) -> str:
    """Do the upgrade again after a cut; return what went wrong."""
    plan = recording.plan
    host.power_on()
    wait_rest(host)
    done = host.abctl(f"upgrade {plan.next_version} --no-reboot --quiet --json")
    if done.code:
        return f"the upgrade cannot be done again: {done}"
    host.start_command("systemctl reboot")
    gathered = gather(host, wait_rest(host))
    if (gathered.word.slot_set, gathered.version) != (plan.target, plan.next_version):
        return f"the upgrade was done again, and {gathered.version} runs in {gathered.word.slot_set}"
    status = host.status()
    if (status["verdict"], status["primary"]) != ("ok", plan.target):
        return f"the upgrade was done again, and status is {status['verdict']}: {status['headline']}"
    return ""


# --- QEMU itself is killed ----------------------------------------------------------------------------


def kill_live(shop: Workshop, recording: Recording, index: int, is_over: Callable[[], bool]) -> Result | None:
    """Kill QEMU at a random moment of an upgrade, and follow what is left; None if out of time."""
    plan = recording.plan
    chance = random.Random(f"{recording.seed} {plan.name} killed {index}")
    part = chance.random()
    disk = shop.folder / f"killed-{plan.name}-{index}.img"
    copy_sparse(recording.base, disk)
    before = read_memory(disk)
    name = f"killed-{plan.name}-{index}"
    with shop.machine(name, disk) as host:
        host.power_on()
        wait_rest(host)
        if is_over():
            disk.unlink()
            return None
        host.start_command(f"abctl upgrade {plan.new} --no-reboot --quiet && systemctl reboot")
        time.sleep(part * recording.facts.seconds)
        host.power_cut()
    shutil.rmtree(shop.folder / name, ignore_errors=True)
    looked: Looked = look(disk, plan, match_with(recording, disk), before)
    phase = f"after {part:.0%} of its time"
    so_far = Result(Kind.KILLED, plan.name, index, phase, looked.outcome, looked.problems)
    so_far = replace(so_far, is_over=looked.is_over)
    return boot_cut(shop, recording, disk, so_far, go_on=True)
