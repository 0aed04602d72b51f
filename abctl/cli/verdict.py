"""Whether a host is all right, and what an admin should do: pure, from core values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from abctl.cli.report import Advice, Verdict
from abctl.cli.sentences import find_outcome_entry, name_slot_set, say_outcome
from abctl.core.advice import Prompt
from abctl.core.bootenv import (
    MAX_ATTEMPTS,
    UNSETTLED_MAX,
    EnvFiles,
    Origin,
    Outcome,
    Reading,
    SlotState,
    Trial,
    Why,
)
from abctl.core.contents import Contents
from abctl.core.health import CheckResult
from abctl.core.holder import Holder
from abctl.core.machine import Host, Settle, transition
from abctl.core.outlook import with_room
from abctl.core.refusing import find_refusal
from abctl.core.settling import find_ended_trial
from abctl.core.slot import SlotName
from abctl.core.units import Seconds

_UPGRADE = "upgrade"
_INSTALL_AGAIN = "upgrade --override same"  # the primary's own release where there is no newer one


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is to be said about a host, and what may be done about it."""

    verdict: Verdict
    headline: str
    advice: tuple[Advice, ...] = ()


@dataclass(frozen=True, slots=True)
class Scene:
    """What a verdict depends on. ``contents`` is what a look into the slot sets showed, where there was one.

    ``holder`` is another abctl that works on it at this moment, ``lost_scripts`` are those of GRUB's scripts
    that are not there, or are not abctl's; None where nobody looked. ``has_wrong_sizes`` where a copy of the
    boot environment is larger or smaller than it has to be.
    """

    host: Host
    reading: Reading
    files: EnvFiles
    prompt: Prompt = field(default_factory=Prompt)
    health: tuple[CheckResult, ...] = ()
    contents: Mapping[SlotName, Contents] = field(default_factory=dict)
    holder: Holder | None = None
    lost_scripts: tuple[str, ...] | None = None
    has_wrong_sizes: bool = False

    @property
    def disk(self) -> str | None:
        return self.prompt.disk

    @property
    def has_other_scripts(self) -> bool:
        """Whether GRUB has other scripts than abctl's, which alone read its boot environment."""
        return bool(self.lost_scripts and (self.files.first or self.files.second))

    @property
    def is_older_system(self) -> bool:
        """Whether only the older system's boot environment is there, as before the first change."""
        has_copies = self.files.first or self.files.second
        has_scripts = self.lost_scripts is not None and "grub.cfg" not in self.lost_scripts
        return self.reading.origin is Origin.OLDER and not has_copies and not has_scripts

    def lacks_kernel(self, name: SlotName) -> bool:
        """Whether GRUB is known to find nothing to boot in a slot set that it may choose."""
        contents = self.contents.get(name)
        is_empty = self.host.env[name].state is SlotState.EMPTY
        return contents is not None and contents.has_kernel is False and not is_empty

    def advise(self, sentence: str, arguments: str) -> Advice:
        return Advice(sentence=sentence, command=self.prompt.command(arguments))

    def reboot(self, sentence: str) -> Advice:
        return Advice(sentence=sentence, command=self.prompt.on_host("systemctl reboot"))

    def name(self, slot_set: SlotName) -> str:
        return name_slot_set(self.host.env, slot_set)


def judge(scene: Scene) -> Finding:
    """Return the worst verdict with its headline, and all advice, the most important first."""
    findings = sorted(_find(scene), key=lambda finding: list(Verdict).index(finding.verdict), reverse=True)
    if scene.host.running.disagreement:
        return findings[0]
    # One command is advised once, by the finding that matters most.
    advice = {
        item.command or item.sentence: item for finding in findings[::-1] for item in finding.advice[::-1]
    }
    return Finding(findings[0].verdict, findings[0].headline, tuple(advice.values())[::-1])


def _find(scene: Scene) -> Iterator[Finding]:
    yield from _find_mixed(scene)
    yield from _find_lost(scene)
    yield from _find_settling(scene)
    yield from _find_busy(scene)
    yield from _find_trial(scene)
    yield from _find_lost_scripts(scene)
    yield from _find_hollow(scene)
    yield from _find_primary(scene)
    yield from _find_other(scene)
    yield from _find_unhealthy(scene)
    yield from _find_damage(scene)
    yield _all_right(scene)


def _find_mixed(scene: Scene) -> Iterator[Finding]:
    if scene.host.running.disagreement:
        advice = scene.reboot("reboot; nothing is changed from a mixed system")
        yield Finding(Verdict.DEGRADED, scene.host.running.disagreement, (advice,))


def _find_lost(scene: Scene) -> Iterator[Finding]:
    if scene.reading.env is None:
        how = "doctor --repair" if _wants_new_files(scene) else "settle"
        advice = scene.advise("write the boot environment anew, from what is known now", how)
        yield Finding(Verdict.DEGRADED, "the boot environment is lost: no copy of it can be read", (advice,))


def _find_settling(scene: Scene) -> Iterator[Finding]:
    """Something ended by itself and is not recorded yet."""
    after, effects = transition(with_room(scene.host), Settle(Seconds(0)))
    if not effects or not after.record.entries:
        return
    what = say_outcome(after) or "a trial ended"
    yield Finding(Verdict.ATTENTION, what, (scene.advise("record how it ended", "settle"),))


def _find_busy(scene: Scene) -> Iterator[Finding]:
    """Another abctl is at work, or was stopped in the middle of it and keeps all others out."""
    holder = scene.holder
    if holder and holder.stopped:
        advice = Advice(sentence="let it go on", command=f"kill -CONT {holder.pid}")
        what = f"{_base(scene)}, but {holder.sentence} was stopped in the middle of its work"
        yield Finding(Verdict.ATTENTION, what, (advice,))
    elif holder:
        yield Finding(Verdict.OK, f"{_base(scene)}; {holder.sentence} works on it at this moment")


def _find_trial(scene: Scene) -> Iterator[Finding]:
    host = scene.host
    trial = host.env.trial
    if trial is None or find_ended_trial(host):
        return
    release = scene.name(trial.slot_set)
    if host.running.kernel is trial.slot_set:
        yield _running_trial(scene, trial, release)
        return
    advice = (
        scene.reboot("start the trial" if scene.disk is None else "start the trial: power this host on"),
        scene.advise("or call it off", "rollback"),
    )
    runs = f"; {scene.name(host.running.kernel)} runs until then" if host.running.kernel else ""
    yield Finding(Verdict.TRIAL, f"slot set {release} is installed and waits to be tried{runs}", advice)


def _running_trial(scene: Scene, trial: Trial, release: str) -> Finding:
    most = 1 if scene.reading.origin is Origin.OLDER else MAX_ATTEMPTS
    number = f"boot {most - trial.attempts} of {most}" if trial.attempts < most else "chosen by hand"
    advice = (
        scene.advise("if this system works, keep it", "confirm"),
        scene.advise("if it does not, go back", "rollback --reboot" if scene.disk is None else "rollback"),
    )
    return Finding(Verdict.TRIAL, f"slot set {release} runs on trial, {number}, and is not kept yet", advice)


def _find_lost_scripts(scene: Scene) -> Iterator[Finding]:
    if scene.has_other_scripts:
        names = " and ".join(scene.lost_scripts or ())
        what = f"GRUB does not run abctl's scripts: on the grub partition, {names} is missing or another"
        yield Finding(Verdict.DEGRADED, what, (scene.advise("put them back", "adopt"),))


def _find_hollow(scene: Scene) -> Iterator[Finding]:
    """A slot set that lacks a volume, or holds nothing that GRUB could boot."""
    env = scene.host.env
    for name in (env.primary, env.primary.other):
        problem = scene.contents[name].problem if name in scene.contents else None
        if problem:
            verdict = Verdict.DEGRADED if name is env.primary else Verdict.ATTENTION
            advice = scene.advise("see what mends it", "doctor")
            yield Finding(verdict, f"slot set {scene.name(name)} cannot be used: {problem}", (advice,))
    yield from _find_kernels(scene)


def _find_kernels(scene: Scene) -> Iterator[Finding]:
    env = scene.host.env
    if scene.lacks_kernel(env.primary):
        yield _primary_without_kernel(scene)
    if scene.lacks_kernel(env.primary.other) and env[env.primary.other].state is not SlotState.BAD:
        yield _other_without_kernel(scene)


def advise_kernels(scene: Scene) -> Advice | None:
    """Return what to do first about slot sets that hold no kernel, whatever else ails the host."""
    return next((item for finding in _find_kernels(scene) for item in finding.advice), None)


def _primary_without_kernel(scene: Scene) -> Finding:
    env, primary = scene.host.env, scene.host.env.primary
    other, running = primary.other, scene.host.running.kernel
    what = f"the primary {scene.name(primary)} holds no kernel that GRUB can load"
    if env[other].state is SlotState.EMPTY or scene.lacks_kernel(other):
        upgrade = scene.advise("install a release in the other slot set, so that one boots", _INSTALL_AGAIN)
        return Finding(
            Verdict.DEGRADED, f"{what}, and the other slot set is no way out: nothing boots", (upgrade,)
        )
    advice: tuple[Advice, ...]
    if env.trial:
        return Finding(Verdict.DEGRADED, f"{what}; only the trial in {scene.name(other)} still boots")
    if scene.host.why is Why.NO_KERNEL:
        advice = ()  # to settle records it, and says so
    elif running is other:
        advice = (scene.advise("give the primary up, so that what runs takes over", f"mark-bad {primary}"),)
    elif env[other].state is SlotState.GOOD:
        advice = (scene.advise("make the other slot set the primary", "rollback"),)
    else:
        advice = (scene.advise("install a release in the other slot set", _UPGRADE),)
    return Finding(Verdict.DEGRADED, f"{what}, so GRUB boots {scene.name(other)} instead", advice)


def _other_without_kernel(scene: Scene) -> Finding:
    other = scene.host.env.primary.other
    version = scene.host.env[other].version
    if scene.host.env.trial:
        what = f"slot set {scene.name(other)} is on trial, but holds no kernel that GRUB can load"
        return Finding(Verdict.ATTENTION, what, (scene.advise("call the trial off", "rollback"),))
    again: tuple[Advice, ...] = ()
    if version and find_refusal(scene.host, version, None):
        again = (scene.advise(f"let {version} in again", f"allow {version}"),)
    what = f"slot set {scene.name(other)} holds no kernel that GRUB can load"
    advice = (*again, scene.advise("install a release in it", _INSTALL_AGAIN))
    return Finding(Verdict.ATTENTION, f"{_base(scene)}, but there is no way back: {what}", advice)


def _find_primary(scene: Scene) -> Iterator[Finding]:
    host = scene.host
    env, booted = host.env, host.running.kernel
    if env[env.primary].state in (SlotState.BAD, SlotState.EMPTY) and env.trial is None:
        advice = scene.advise("install a sound release", _UPGRADE)
        state = env[env.primary].state
        headline = (
            f"the primary {scene.name(env.primary)} is {state}, and the other slot set cannot replace it"
        )
        if env.outcome is Outcome.STAYED_UP:
            headline = say_outcome(host) or headline
        yield Finding(Verdict.DEGRADED, headline, (advice,))
    if env.unsettled > (1 if booted else 0):
        yield Finding(Verdict.ATTENTION, _say_unsettled(scene))
    if booted not in (None, env.primary) and env.trial is None and not host.running.disagreement:
        assert booted is not None
        yield Finding(
            Verdict.ATTENTION,
            f"slot set {scene.name(booted)} runs, but {scene.name(env.primary)} is the primary",
            _advise_change(scene, booted),
        )


def _say_unsettled(scene: Scene) -> str:
    """The boot that runs may still come up: it is told only once the boots before it did not."""
    env = scene.host.env
    count = min(env.unsettled, UNSETTLED_MAX)
    boots = "boot" if count == 1 else f"{count} boots"
    return (
        f"the last {boots} of the primary {scene.name(env.primary)} never came as far as the health service"
    )


def _advise_change(scene: Scene, booted: SlotName) -> tuple[Advice, ...]:
    env = scene.host.env
    change = scene.reboot("reboot to change over to the primary")
    if env[booted].state is SlotState.BAD:
        return (change,)
    return change, scene.advise("or, if it does not start any more, give it up", f"mark-bad {env.primary}")


def _find_other(scene: Scene) -> Iterator[Finding]:
    env = scene.host.env
    other, state = env.primary.other, env[env.primary.other].state
    if env.trial or scene.host.running.kernel not in (None, env.primary):
        return
    if state is SlotState.EMPTY and env.outcome is Outcome.INSTALLING:
        if scene.holder:
            return  # it may well come to its end
        advice = scene.advise("start the installation again", _UPGRADE)
        story = say_outcome(scene.host) or ""
        yield Finding(Verdict.ATTENTION, f"{_base(scene)}, but {story}", (advice,))
    elif state is SlotState.UNTESTED and env.outcome is Outcome.GAVE_WAY:
        again = (scene.advise("or try the other again", "rollback"),) if other in env.answering else ()
        yield Finding(
            Verdict.ATTENTION,
            f"{_base(scene)}, for {say_outcome(scene.host)}",
            (scene.advise("install a release beside it", _UPGRADE), *again),
        )
    elif state is SlotState.BAD:
        yield Finding(
            Verdict.ATTENTION, f"{_base(scene)}, but {_say_bad(scene, other)}", _advise_on_bad(scene, other)
        )


def _say_bad(scene: Scene, other: SlotName) -> str:
    entry = find_outcome_entry(scene.host)
    outcome = say_outcome(scene.host)
    if outcome and entry and entry.slot_set is other:
        return outcome
    return f"slot set {scene.name(other)} is bad, so there is nothing good to fall back to"


def _advise_on_bad(scene: Scene, other: SlotName) -> tuple[Advice, ...]:
    version = scene.host.env[other].version
    again = () if version is None else (scene.advise("or let that version in again", f"allow {version}"),)
    return (scene.advise("install a mended release", _UPGRADE), *again)


def _find_unhealthy(scene: Scene) -> Iterator[Finding]:
    """A trial that fails its checks is on trial still; anything else that runs wants an admin."""
    failed = [item for item in scene.health if item.is_failure]
    if failed and scene.host.env.trial is None:
        advice = scene.advise("see which checks fail", "health")
        yield Finding(Verdict.ATTENTION, f"{_base(scene)}, but {failed[0].sentence}", (advice,))


def _find_damage(scene: Scene) -> Iterator[Finding]:
    reading = scene.reading
    if reading.env is None or (reading.in_step and not reading.damage):
        return
    if scene.is_older_system:
        advice = scene.advise("take over from the older system", "adopt")
        yield Finding(Verdict.OK, f"{_base(scene)}; its boot state is still the older system's", (advice,))
        return
    advice = scene.advise("write the copies of the boot environment anew", "settle")
    if _wants_new_files(scene):
        advice = scene.advise("make the copies of the boot environment anew", "doctor --repair")
    if reading.damage:
        yield Finding(
            Verdict.ATTENTION, f"a copy of the boot environment is no good: {reading.damage[0]}", (advice,)
        )
    else:
        yield Finding(Verdict.OK, _base(scene), (advice,))


def _wants_new_files(scene: Scene) -> bool:
    """Whether copies of a disk are missing or of a wrong size: from outside only the doctor makes files."""
    return scene.disk is not None and (
        not (scene.files.first and scene.files.second) or scene.has_wrong_sizes
    )


def _all_right(scene: Scene) -> Finding:
    env = scene.host.env
    other = env[env.primary.other].state
    if other is SlotState.EMPTY:
        return Finding(Verdict.OK, f"{_base(scene)}; there is nothing to fall back to until the next upgrade")
    return Finding(Verdict.OK, _base(scene))


def _base(scene: Scene) -> str:
    env, booted = scene.host.env, scene.host.running.kernel
    runs = "runs and is the primary" if booted is env.primary else "is the primary"
    return f"slot set {scene.name(env.primary)} {runs}"
