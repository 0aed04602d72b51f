"""What a host at rest must show after a cut: pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.lab.campaign.guest import Gathered
from tests.lab.campaign.look import Outcome
from tests.lab.campaign.places import KEPT_DIGEST, KEPT_IN_CONFIG, REFUSED, Plan


@dataclass(frozen=True, slots=True)
class Told:
    """What abctl tells of the disk afterwards, as JSON."""

    status: Any
    history: Any


def judge(plan: Plan, expected: Outcome, host: Gathered, told: Told) -> list[str]:
    """Return what is wrong with a host that should have come to rest in this way."""
    slot_set, version = (plan.target, plan.new) if expected is Outcome.CONFIRMED else (plan.primary, plan.old)
    return [
        *_find_incomplete(host, slot_set, version),
        *_find_unexplained(plan, expected, told, slot_set),
    ]


def _find_incomplete(host: Gathered, slot_set: str, version: str) -> Iterator[str]:
    if (host.word.slot_set, host.version) != (slot_set, version):
        yield f"{host.version} runs in {host.word.slot_set}, and not {version} in {slot_set}"
        return
    yield from _find_unmounted(host, slot_set)
    if host.failed_units:
        yield f"units failed: {host.failed_units}"
    if host.health is None or host.health.failures:
        failed = host.health.failures if host.health else ()
        yield f"not healthy: {'; '.join(f'{item.name}: {item.text}' for item in failed) or 'no checks'}"
    if host.kept_in_config != KEPT_DIGEST:
        yield f"{KEPT_IN_CONFIG} on the config volume is not what it was"


def _find_unmounted(host: Gathered, slot_set: str) -> Iterator[str]:
    for point, part in (("/", "root"), ("/boot", "boot"), ("/var", "var")):
        source = host.mounts.get(point, ("nothing",))[0]
        if source != f"/dev/mapper/hostlvm-{slot_set}_{part}":
            yield f"{source} is on {point}"
    for point in ("/boot/grub", "/boot/efi", "/boot/config"):
        if point not in host.mounts:
            yield f"nothing is on {point}"


def _find_unexplained(plan: Plan, expected: Outcome, told: Told, slot_set: str) -> Iterator[str]:
    status = told.status
    if (status["primary"], status["trial"]) != (slot_set, None):
        yield f"the primary is {status['primary']}, on trial is {status['trial']}"
    refused = {item["version"] for item in status["refused"]}
    wanted = {REFUSED, plan.new} if expected is Outcome.FELL_BACK else {REFUSED}
    if refused != wanted:
        yield f"refused are {sorted(refused)} instead of {sorted(wanted)}"
    if not status["boot_env"]["in_step"] or status["damage"]:
        yield f"copies of the boot environment were not mended: {status['damage']}"
    other = status["slot_sets"][plan.target]
    if not _is_told(expected, status, other):
        said = f"{status['verdict']}, {status['headline']}"
        yield f"status is not right: {said}; {plan.target} is {other['state']}"


def _is_told(expected: Outcome, status: Any, other: Any) -> bool:
    """Whether verdict, outcome and advice are those that an admin needs."""
    verdict, state = status["verdict"], other["state"]
    outcome = (status["last_upgrade"] or {}).get("outcome")
    if expected is Outcome.FELL_BACK:
        return (verdict, state, outcome) == ("attention", "bad", "fell_back")
    if expected is Outcome.CONFIRMED:
        return (verdict, state) == ("ok", "good")
    if outcome == "installing":
        advised = [str(item["command"]).split()[-1] for item in status["advice"]]
        return (verdict, state, advised[:1]) == ("attention", "empty", ["upgrade"])
    return bool(verdict == "ok")


def find_lacking_entry(plan: Plan, expected: Outcome, told: Told) -> str:
    """Return what the history does not tell of the end of the upgrade."""
    happened = {(item["what"], item["version"]) for item in told.history["entries"]}
    what = {Outcome.CONFIRMED: "confirmed", Outcome.FELL_BACK: "fell_back"}.get(expected)
    return (
        f"the history lacks that {plan.new} was {what}" if what and (what, plan.new) not in happened else ""
    )
