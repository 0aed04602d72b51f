"""Explain how a host stands, from core values: the sentences of ``status``, and what they do not tell."""

from collections.abc import Iterator

from abctl.cli.describe import say_rehearsal
from abctl.cli.report import StatusReport
from abctl.cli.report_explain import AnswerReport, ExplainReport
from abctl.cli.sentences import OTHER_SCRIPTS, find_entry, may_hold_kernel, name_slot_set, plural, say_entry
from abctl.cli.verdict import Scene
from abctl.core.advice import Prompt
from abctl.core.bootenv import MAX_ATTEMPTS, UNSETTLED_MAX, SlotState, Why
from abctl.core.clock import say_time
from abctl.core.machine import Host
from abctl.core.outlook import Answer, ask, foresee
from abctl.core.record import Happened
from abctl.core.slot import SlotName
from abctl.core.units import Seconds

_CAME_BY = (
    Happened.CREATED,
    Happened.INSTALLED,
    Happened.CONFIRMED,
    Happened.ROLLED_BACK,
    Happened.STAYED_UP,
)


def describe_explanation(status: StatusReport, scene: Scene, now: Seconds) -> ExplainReport:
    """Return the explanation of a host whose ``status`` is this."""
    host = scene.host
    return ExplainReport(
        disk=status.disk,
        layout=status.layout,
        verdict=status.verdict,
        headline=status.headline,
        runs=tuple(say_how_it_came(host)),
        next_boot=status.next_boot,
        later=OTHER_SCRIPTS if scene.has_other_scripts else _say_later(scene),
        answers=tuple(_describe_answer(answer, scene.prompt) for answer in ask(host, now)),
        warnings=(*status.damage, *status.warnings),
        advice=status.advice,
    )


def _say_later(scene: Scene) -> str:
    kernels = {name: may_hold_kernel(name, scene.contents) for name in SlotName}
    return say_rehearsal(scene.host.env, foresee(scene.files, kernels))


# --- what runs --------------------------------------------------------------------------------------


def say_how_it_came(host: Host) -> Iterator[str]:
    """Yield what runs, why GRUB booted it, and how that slot set came to be what it is."""
    running = host.running
    if running.disagreement:
        yield running.disagreement
        return
    subject = running.kernel or host.env.primary
    if running.kernel is None:
        yield (
            "nothing runs from this disk, as far as this command was told; "
            f"the primary is slot set {name_slot_set(host.env, subject)}"
        )
    else:
        yield f"slot set {name_slot_set(host.env, subject)} runs"
    if running.why:
        yield f"GRUB booted it {_say_why_booted(host, running.why)}"
    yield from _say_past(host, subject)


_WHY_BOOTED = {
    Why.TRIAL: "on trial",
    Why.PRIMARY: "as the primary, for nothing was on trial",
    Why.FALLBACK: "as the primary, for the attempts of the trial were used up",
    Why.UNSAVED: "as the primary, for it could not save that the trial has an attempt less",
    Why.NO_KERNEL: "because the kernel of {over} could not be loaded",
    Why.LOST: "by its fixed rule, for it could read no copy of the boot environment",
    Why.UNSETTLED: f"because the last {UNSETTLED_MAX} boots of {{over}} never came up",
    Why.MENU: "because somebody chose it in the menu",
}


def _say_why_booted(host: Host, why: Why) -> str:
    over = host.running.passed_over
    said = _WHY_BOOTED[why].format(over=f"slot set {over}" if over else "the other slot set")
    left = host.running.attempts
    return (
        said
        if why is not Why.TRIAL or left is None
        else f"{said}, and left it {plural(left, 'more attempt')}"
    )


def _say_past(host: Host, name: SlotName) -> Iterator[str]:
    """Yield what the record knows of the release in a slot set, in the order in which it happened."""
    version = host.env[name].version
    found = [find_entry(host.record, what, name) for what in _CAME_BY]
    known = {id(entry): entry for entry in found if entry and version and entry.version == version}
    for entry in host.record.entries:
        if id(entry) in known:
            yield f"{say_entry(entry)} ({say_time(entry.at)})"
    if not known:
        yield f"how slot set {name} came to hold what it does is not recorded"


# --- what commands would do -------------------------------------------------------------------------


def _describe_answer(answer: Answer, prompt: Prompt) -> AnswerReport:
    return AnswerReport(
        word=answer.word,
        command=prompt.command(answer.word),
        allowed=answer.refusal is None,
        exit_code=answer.refusal.exit_code if answer.refusal else 0,
        sentence=_say_answer(answer),
    )


def _say_answer(answer: Answer) -> str:
    if answer.after is None:
        return str(answer.refusal)
    before, after = answer.before, answer.after
    primary = name_slot_set(after.env, after.env.primary)
    if answer.word == "upgrade":
        return _say_upgrade(before)
    if answer.word == "confirm":
        return f"slot set {primary} becomes the primary: every power-on boots it"
    left = before.env.trial.slot_set if before.env.trial else before.env.primary
    version = before.env[left].version
    refused = (
        f", and {version} is refused from then on" if after.record.refusals != before.record.refusals else ""
    )
    if before.env.trial is None:
        return f"slot set {primary} becomes the primary again{refused}"
    over = "given up" if before.running.kernel is left else "called off before it starts"
    return (
        f"the trial of slot set {name_slot_set(before.env, left)} is {over}{refused}; the primary {primary} "
        "is what the next power-on boots"
    )


def _say_upgrade(before: Host) -> str:
    target = before.env.primary.other
    held = before.env[target].version
    over = f" over {held}" if held and before.env[target].state is not SlotState.EMPTY else ""
    return (
        f"a release is written into slot set {target}{over} and gets {MAX_ATTEMPTS} attempts on trial; "
        f"{name_slot_set(before.env, before.env.primary)} stays the way back"
    )
