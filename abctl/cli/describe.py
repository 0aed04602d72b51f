"""Make the reports of the host's state from core values. Nothing here looks at a host."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from abctl.cli.describe_evidence import describe_checks, describe_trial
from abctl.cli.report import (
    Advice,
    BootEnvReport,
    BootReport,
    EntryReport,
    HistoryReport,
    LastUpgradeReport,
    NextBootReport,
    RefusalReport,
    RehearseReport,
    SlotSetReport,
    SlotSetRole,
    StatusReport,
    TrialReport,
)
from abctl.cli.sentences import (
    OTHER_SCRIPTS,
    find_outcome_entry,
    name_slot_set,
    plural,
    say_entry,
    say_kernels,
    say_next_boot,
    say_outcome,
    say_why,
    target_of,
)
from abctl.cli.verdict import Scene, judge
from abctl.core.bootenv import MAX_ATTEMPTS, UNSETTLED_MAX, BootEnv, EnvFiles, Origin, Reading, SlotState, Why
from abctl.core.clock import format_time
from abctl.core.contents import Contents
from abctl.core.evidence import TrialEvidence
from abctl.core.grub import next_boot
from abctl.core.machine import Host
from abctl.core.record import Entry, Happened, Record
from abctl.core.settling import find_ended_trial
from abctl.core.slot import SlotName

if TYPE_CHECKING:
    from abctl.cli.concerns import Concern
    from abctl.host.grub_emu import PoweredOn


def describe_status(
    scene: Scene,
    *,
    layout: str,
    concerns: Sequence["Concern"] = (),
    last_trial: TrialEvidence | None = None,
) -> StatusReport:
    """Return how a host stands."""
    host, reading = scene.host, scene.reading
    finding = judge(scene)
    running = host.running
    return StatusReport(
        disk=scene.disk,
        layout=layout,
        verdict=finding.verdict,
        headline=finding.headline,
        booted=None if running.disagreement else running.kernel,
        booted_why=running.why,
        mixed=running.disagreement,
        primary=host.env.primary,
        trial=_describe_trial(host, reading.origin),
        slot_sets={name: _describe_slot_set(host, name, reading.origin) for name in SlotName},
        next_boot=_describe_next_boot(scene),
        last_upgrade=_describe_last_upgrade(host),
        last_trial=describe_trial(last_trial, few=True) if last_trial else None,
        health=describe_checks(scene.health),
        refused=describe_refusals(host.env, host.record),
        boot_env=_describe_boot_env(host, reading),
        damage=() if scene.is_older_system else reading.damage,
        warnings=tuple(concern.sentence for concern in concerns),
        advice=_gather_advice(scene, finding.advice, concerns),
    )


def _describe_next_boot(scene: Scene) -> NextBootReport:
    boot = describe_next_boot(scene.host, scene.files, scene.contents)
    return replace(boot, sentence=OTHER_SCRIPTS) if scene.has_other_scripts else boot


def _gather_advice(
    scene: Scene, advice: tuple[Advice, ...], concerns: Sequence["Concern"]
) -> tuple[Advice, ...]:
    if scene.host.running.disagreement:
        return advice  # nothing is changed from a mixed system, so nothing else is advised
    more = (concern.advice for concern in concerns if concern.advice)
    return tuple(dict.fromkeys((*advice, *more)))


def _describe_boot_env(host: Host, reading: Reading) -> BootEnvReport:
    return BootEnvReport(
        origin=reading.origin,
        generation=host.env.generation if reading.env and reading.origin is not Origin.OLDER else None,
        unsettled=host.env.unsettled if host.env.is_counted else None,
        in_step=reading.in_step,
    )


def _describe_trial(host: Host, origin: Origin) -> TrialReport | None:
    trial = host.env.trial
    if trial is None:
        return None
    return TrialReport(
        slot_set=trial.slot_set,
        version=host.env[trial.slot_set].version,
        attempts_left=trial.attempts,
        attempts_max=1 if origin is Origin.OLDER else MAX_ATTEMPTS,
        ended=find_ended_trial(host),
    )


def _describe_slot_set(host: Host, name: SlotName, origin: Origin) -> SlotSetReport:
    env = host.env
    roles = {
        SlotSetRole.BOOTED: not host.running.disagreement and host.running.kernel is name,
        SlotSetRole.PRIMARY: env.primary is name,
        SlotSetRole.TRIAL: env.trial is not None and env.trial.slot_set is name,
    }
    return SlotSetReport(
        # An empty slot set holds nothing; the version is then only what was being written.
        version=None if env[name].state is SlotState.EMPTY else env[name].version,
        state=env[name].state,
        why=say_why(host, name, origin),
        roles=tuple(role for role, holds in roles.items() if holds),
    )


def describe_next_boot(
    host: Host, files: EnvFiles, contents: Mapping[SlotName, Contents] | None = None
) -> NextBootReport:
    """Return what the next power-on does with ``files``."""
    boot = next_boot(files)
    return NextBootReport(
        slot_set=boot.slot_set,
        second=boot.second,
        why=boot.why,
        sentence=say_next_boot(host, files, boot) + say_kernels(host.env, boot, contents or {}),
    )


def _describe_last_upgrade(host: Host) -> LastUpgradeReport | None:
    env = host.env
    sentence = say_outcome(host)
    if sentence is None:
        return None
    ended = find_ended_trial(host)
    if ended:
        sentence = f"{sentence.removesuffix(', on trial')}, but its trial is over: {ended}"
    entry = find_outcome_entry(host)
    target = target_of(env)
    return LastUpgradeReport(
        outcome=env.outcome,
        version=(entry and entry.version) or env[target].version,
        slot_set=entry.slot_set if entry else target,
        when=format_time(entry.at) if entry else None,
        sentence=sentence,
    )


def describe_refusals(env: BootEnv, record: Record) -> tuple[RefusalReport, ...]:
    """Return every version that would be refused, the newest refusal first."""
    recorded = [
        RefusalReport(version=item.version, reason=item.reason, at=format_time(item.at))
        for item in reversed(record.refusals)
    ]
    known = {item.version for item in recorded}
    by_state = [
        RefusalReport(version=version, reason=f"slot set {name} holds it and is bad", at=None)
        for name in SlotName
        if (version := env[name].version) and env[name].state is SlotState.BAD and version not in known
    ]
    return (*recorded, *by_state)


# --- history ----------------------------------------------------------------------------------------


def describe_history(host: Host, *, disk: str | None = None, last: int | None = None) -> HistoryReport:
    """Return what the record holds, oldest first; with ``last`` only so many of the newest entries."""
    entries = host.record.entries
    installed = [entry for entry in entries if entry.what is Happened.INSTALLED]
    shown = entries if last is None else entries[max(0, len(entries) - last) :]
    return HistoryReport(
        disk=disk,
        entries=tuple(_describe_entry(entry) for entry in shown),
        refused=describe_refusals(host.env, host.record),
        installs=len(installed),
        written=sum(entry.written or 0 for entry in installed),
    )


def _describe_entry(entry: Entry) -> EntryReport:
    return EntryReport(
        at=format_time(entry.at),
        what=entry.what,
        slot_set=entry.slot_set,
        version=entry.version,
        sha256=entry.sha256,
        text=entry.text,
        written=entry.written,
        took=entry.took,
        sentence=say_entry(entry),
    )


# --- rehearse ---------------------------------------------------------------------------------------


class PowerOn(Protocol):
    """What a power-on did, or would do."""

    @property
    def booted(self) -> SlotName | None: ...

    @property
    def why(self) -> Why: ...


def describe_rehearsal(
    env: BootEnv, boots: Iterable["PoweredOn"], *, disk: str | None = None
) -> RehearseReport:
    """Return a rehearsal: ``boots`` is what GRUB did at one power-on after the other, nobody confirming."""
    done = tuple(boots)
    return RehearseReport(
        disk=disk,
        boots=tuple(_describe_boot(env, number, boot) for number, boot in enumerate(done, 1)),
        settles_on=done[-1].booted if _is_settled(done) else None,
        sentence=say_rehearsal(env, done),
    )


_LASTING = (Why.PRIMARY, Why.FALLBACK, Why.LOST, Why.NO_KERNEL, Why.UNSETTLED)


def _is_settled(boots: Sequence[PowerOn]) -> bool:
    return bool(boots) and boots[-1].booted is not None and boots[-1].why in _LASTING


def _describe_boot(env: BootEnv, number: int, boot: "PoweredOn") -> BootReport:
    return BootReport(
        number=number,
        chosen=boot.chosen,
        booted=boot.booted,
        second=boot.second,
        why=boot.why,
        attempts_left=int(boot.attempts) if boot.why is Why.TRIAL else None,
        sentence=_say_boot(env, boot),
    )


def _say_boot(env: BootEnv, boot: "PoweredOn") -> str:
    if boot.booted is None:
        return "no slot set can be booted: GRUB waits, and starts again"
    name = name_slot_set(env, boot.booted)
    if boot.why is Why.TRIAL:
        left = int(boot.attempts)
        return f"boots slot set {name} on trial, {plural(left, 'attempt') if left else 'no attempt'} left"
    if boot.why is Why.NO_KERNEL:
        return f"boots slot set {name}, for the kernel of {name_slot_set(env, boot.chosen)} cannot be loaded"
    reason = {
        Why.FALLBACK: "the primary, for the attempts are used up",
        Why.UNSAVED: "the primary, for no attempt could be spent",
        Why.LOST: "by the fixed rule, for no boot environment can be read",
        Why.UNSETTLED: f"for the last {UNSETTLED_MAX} boots of the primary never came up",
    }.get(boot.why, "the primary")
    return f"boots slot set {name}, {reason}"


def say_rehearsal(env: BootEnv, boots: Sequence[PowerOn]) -> str:
    """Return what power-ons come to where nobody confirms."""
    if any(boot.booted is None for boot in boots):
        return "this disk does not come up by itself: install a release in a slot set that GRUB can boot"
    trials = sum(boot.why is Why.TRIAL for boot in boots)
    if not _is_settled(boots) or boots[-1].booted is None:
        return f"after {plural(len(boots), 'power-on')} the trial is not over yet"
    last = name_slot_set(env, boots[-1].booted)
    if not trials:
        return f"every power-on boots slot set {last}"
    return f"if nobody confirms, GRUB goes back to slot set {last} after {plural(trials, 'trial boot')}"
