"""What abctl says about slot sets, boots and the past: pure functions from core values to sentences.

A sentence starts in lower case and has no full stop, so that it can stand behind a label or another one.
"""

from collections.abc import Mapping

from abctl.core.bootenv import MAX_ATTEMPTS, UNSETTLED_MAX, BootEnv, EnvFiles, Origin, Outcome, SlotState, Why
from abctl.core.clock import say_time
from abctl.core.contents import Contents
from abctl.core.grub import NextBoot, choose_copy
from abctl.core.machine import Host
from abctl.core.record import Entry, Happened, Record
from abctl.core.settling import find_ended_trial
from abctl.core.slot import SlotName
from abctl.core.trust_state import TrustState
from abctl.core.units import Version

_HAPPENED = {
    Happened.CREATED: "the disk was made with {release} in slot set {slot_set}",
    Happened.INSTALLED: "{release} was installed in slot set {slot_set}",
    Happened.INSTALL_FAILED: "{release} was not installed in slot set {slot_set}: {text}",
    Happened.CONFIRMED: "{release} in slot set {slot_set} was confirmed",
    Happened.FELL_BACK: "{release} in slot set {slot_set} fell back: {text}",
    Happened.CALLED_OFF: "the trial of {release} in slot set {slot_set} was called off: {text}",
    Happened.ROLLED_BACK: "the host was rolled back to {release} in slot set {slot_set}",
    Happened.MARKED_BAD: "{release} in slot set {slot_set} was marked bad: {text}",
    Happened.GAVE_WAY: "{release} in slot set {slot_set} gave way to the other slot set: {text}",
    Happened.STAYED_UP: (
        "{release} in slot set {slot_set} is not healthy, but stays up, as the other slot set is no better: "
        "{text}"
    ),
    Happened.ALLOWED: "{release} was allowed again",
    Happened.REBUILT: "the boot environment was lost and rebuilt: {text}",
}


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def name_slot_set(env: BootEnv, name: SlotName) -> str:
    """Return ``A (2.0.0)``, or ``A`` where its version is not known."""
    version = env[name].version
    return f"{name} ({version})" if version and env[name].state is not SlotState.EMPTY else str(name)


def name_release(version: Version | str | None) -> str:
    return version or "a release of unknown version"


def say_entry(entry: Entry) -> str:
    """Return what an entry of the record tells."""
    what = f"{name_release(entry.version)} in slot set {entry.slot_set}"
    if entry.what is Happened.ROLLED_BACK and entry.text:
        return f"{what} was {entry.text}"
    if entry.what is Happened.CALLED_OFF and entry.text.startswith("called off"):
        return f"the trial of {what} was {entry.text}"
    told = _HAPPENED[entry.what].format(
        release=name_release(entry.version),
        slot_set=entry.slot_set or "?",
        text=entry.text or "no reason is known",
    )
    return f"{told}; {entry.text}" if entry.what is Happened.INSTALLED and entry.text else told


def find_entry(record: Record, what: Happened, slot_set: SlotName | None = None) -> Entry | None:
    """Return the newest entry of this kind, about this slot set where one is named."""
    for entry in reversed(record.entries):
        if entry.what is what and slot_set in (None, entry.slot_set):
            return entry
    return None


def warn_of_releases(host: Host, trust: TrustState) -> tuple[str, ...]:
    """Return what an admin should know of the releases in the slot sets: recalled, overridden, not signed."""
    warnings = []
    for name in SlotName:
        version = host.env[name].version
        if version is None or host.env[name].state is SlotState.EMPTY:
            continue
        where = f"{version} in slot set {name}"
        if version in trust.recalled:
            reason = trust.recalled[version] or "no reason is known"
            warnings.append(
                f"{where} was recalled by its publisher: {reason}; take another with 'abctl upgrade'"
            )
        installed = find_entry(host.record, Happened.INSTALLED, name)
        if installed and installed.version == version and installed.text:
            warnings.append(f"{where}: {installed.text}")
    return tuple(warnings)


# --- the next power-on ------------------------------------------------------------------------------


OTHER_SCRIPTS = "what the next power-on boots is not known, for GRUB does not run abctl's scripts"


def say_next_boot(host: Host, files: EnvFiles, boot: NextBoot) -> str:
    """Return what the next power-on does with ``files``, and why."""
    match boot.why:
        case Why.TRIAL:
            return _say_trial(host, files, boot)
        case Why.FALLBACK:
            return _say_fallback(host, files, boot)
        case Why.UNSAVED:
            return (
                f"GRUB cannot write the boot environment: the next power-on boots {_primary(host.env, boot)}"
            )
        case Why.UNSETTLED:
            return _say_unsettled(host, boot)
        case Why.LOST:
            rule = f"by its fixed rule GRUB boots slot set {name_slot_set(host.env, boot.slot_set)}"
            return f"no copy of the boot environment can be read: {rule}{_way_out(host.env, boot)}"
        case _:
            return f"the next power-on boots {_primary(host.env, boot)}"


def _say_unsettled(host: Host, boot: NextBoot) -> str:
    primary = boot.slot_set.other
    unless = "unless it comes up, " if host.running.kernel is primary else ""
    return (
        f"the last {UNSETTLED_MAX} boots of the primary {name_slot_set(host.env, primary)} never came up: "
        f"{unless}the next power-on boots {name_slot_set(host.env, boot.slot_set)}{_way_out(host.env, boot)}"
    )


def _say_trial(host: Host, files: EnvFiles, boot: NextBoot) -> str:
    trial = boot.slot_set
    left = int(choose_copy(files)[1]["attempts"])
    runs = host.running.kernel is trial
    sentence = (
        f"{'unless it is confirmed, ' if runs else ''}the next power-on tries slot set "
        f"{name_slot_set(host.env, trial)} {'again' if runs else 'on trial'}, {plural(left, 'attempt')} left"
    )
    return sentence + _way_out(host.env, boot)


def _say_fallback(host: Host, files: EnvFiles, boot: NextBoot) -> str:
    origin, values = choose_copy(files)
    trial = SlotName(values["trial"])
    what = f"{host.env[trial].version} in {trial}" if host.env[trial].version else f"slot set {trial}"
    ended = find_ended_trial(host)
    if ended and "kernel" in ended:
        cause = f"the kernel of {what} could not be loaded"
    elif values.get("attempts") != "0":
        cause = f"GRUB does not understand how many attempts {what} has left"
    elif origin is Origin.OLDER:
        cause = f"the only attempt of {what} is used up"
    else:
        cause = f"all {MAX_ATTEMPTS} attempts of {what} are used up"
    unless = "unless it is confirmed, " if host.running.kernel is trial else ""
    return f"{cause}: {unless}the next power-on boots {_primary(host.env, boot)}"


def _primary(env: BootEnv, boot: NextBoot) -> str:
    bad = ", which is bad" if env[boot.slot_set].state is SlotState.BAD else ""
    return f"the primary {name_slot_set(env, boot.slot_set)}{bad}{_way_out(env, boot)}"


def _way_out(env: BootEnv, boot: NextBoot) -> str:
    if boot.second:
        return f"; if its kernel cannot be loaded, {name_slot_set(env, boot.second)}"
    return f"; nothing else can be booted, for {boot.slot_set.other} is empty"


def say_kernels(env: BootEnv, boot: NextBoot, contents: Mapping[SlotName, Contents]) -> str:
    """Return what to add where GRUB's first choice is known to hold no kernel, else nothing."""
    if may_hold_kernel(boot.slot_set, contents):
        return ""
    if boot.second and may_hold_kernel(boot.second, contents):
        return f"; {boot.slot_set} holds no kernel, so it is {name_slot_set(env, boot.second)} that starts"
    return f"; {boot.slot_set} holds no kernel, so nothing starts"


def may_hold_kernel(name: SlotName, contents: Mapping[SlotName, Contents]) -> bool:
    """Whether GRUB may find a kernel in a slot set, as far as anybody looked."""
    return name not in contents or contents[name].has_kernel is not False


# --- the past ---------------------------------------------------------------------------------------

_ENTRY_OF = {
    Outcome.INSTALLING: Happened.INSTALL_FAILED,
    Outcome.ARMED: Happened.INSTALLED,
    Outcome.CONFIRMED: Happened.CONFIRMED,
    Outcome.FELL_BACK: Happened.FELL_BACK,
    Outcome.CALLED_OFF: Happened.CALLED_OFF,
    Outcome.ROLLED_BACK: Happened.ROLLED_BACK,
    Outcome.MARKED_BAD: Happened.MARKED_BAD,
    Outcome.GAVE_WAY: Happened.GAVE_WAY,
    Outcome.STAYED_UP: Happened.STAYED_UP,
}
_OF_THE_PRIMARY = (Outcome.CONFIRMED, Outcome.STAYED_UP)


def target_of(env: BootEnv) -> SlotName:
    """Return the slot set that the outcome is about."""
    return env.primary if env.outcome in _OF_THE_PRIMARY else env.primary.other


def find_outcome_entry(host: Host) -> Entry | None:
    """Return the entry that tells of ``host.env.outcome``, or None where the record does not know it.

    Where the record was lost, the boot environment still tells some of it.
    """
    env = host.env
    if env.outcome is Outcome.INSTALLING:
        return _find_failed_install(host)
    what = _ENTRY_OF.get(env.outcome)
    return find_entry(host.record, what) if what else None


def _find_failed_install(host: Host) -> Entry | None:
    """The record's last word, where it is that this installation failed; a power cut leaves none."""
    last = host.record.entries[-1] if host.record.entries else None
    version = host.env[host.env.primary.other].version
    if last and last.what is Happened.INSTALL_FAILED and last.version in (None, version):
        return last
    return None


def say_outcome(host: Host) -> str | None:
    """Return what the last upgrade came to; None where there was none."""
    env = host.env
    entry = find_outcome_entry(host)
    if entry:
        return say_entry(entry) + (", on trial" if env.outcome is Outcome.ARMED else "")
    target = target_of(env)
    release = name_release(env[target].version)
    match env.outcome:
        case Outcome.NONE:
            return None
        case Outcome.INSTALLING:
            return (
                f"the installation of {release} in slot set {target} was started and has not come to its end"
            )
        case Outcome.ARMED:
            return f"{release} was installed in slot set {target}, on trial"
        case _:
            outcome = env.outcome.replace("_", " ")
            return f"{release} in slot set {target}: {outcome}; the record does not know more"


# --- why a slot set is in its state -----------------------------------------------------------------


def say_why(host: Host, name: SlotName, origin: Origin) -> str:
    """Return the reason for the state of slot set ``name``."""
    match host.env[name].state:
        case SlotState.GOOD:
            return _why_good(host, name, origin)
        case SlotState.UNTESTED:
            return _why_untested(host, name, origin)
        case SlotState.BAD:
            return _why_bad(host, name)
        case SlotState.EMPTY:
            return _why_empty(host, name)


def _why_good(host: Host, name: SlotName, origin: Origin) -> str:
    if origin is Origin.NONE:
        return "it runs"
    if origin is Origin.OLDER:
        return "the older system boots it"
    version = host.env[name].version
    for entry in reversed(host.record.entries):
        if entry.slot_set is name and entry.version == version:
            if entry.what is Happened.CONFIRMED:
                return f"confirmed {say_time(entry.at)}"
            if entry.what is Happened.CREATED:
                return f"the disk was made with it {say_time(entry.at)}"
    return "it was confirmed, or the disk was made with it"


def _why_untested(host: Host, name: SlotName, origin: Origin) -> str:
    if host.env.trial and host.env.trial.slot_set is name:
        installed = find_entry(host.record, Happened.INSTALLED, name)
        since = f"installed {say_time(installed.at)}; " if installed else ""
        count = host.env.trial.attempts
        return f"{since}on trial, {plural(count, 'attempt') if count else 'no attempt'} left"
    if origin in (Origin.NONE, Origin.OLDER):
        return "nothing is known of it"
    version = host.env[name].version
    last = next((e for e in reversed(host.record.entries) if version and e.version == version), None)
    if last and last.what is Happened.ALLOWED:
        return "was bad; allowed again by an admin"
    return "never confirmed"


def _why_bad(host: Host, name: SlotName) -> str:
    version = host.env[name].version
    refusal = host.record.find_refusal(version, None) if version else None
    if refusal:
        return refusal.reason
    for entry in reversed(host.record.entries):
        if entry.slot_set is name and entry.what in (
            Happened.FELL_BACK,
            Happened.MARKED_BAD,
            Happened.ROLLED_BACK,
            Happened.STAYED_UP,
        ):
            return entry.text
    return "the reason is lost with the record"


def _why_empty(host: Host, name: SlotName) -> str:
    entry = find_entry(host.record, Happened.GAVE_WAY, name)
    if host.env.outcome is Outcome.INSTALLING and name is host.env.primary.other:
        failed = _find_failed_install(host)
        release = name_release(host.env[name].version)
        return (
            f"installing {release} failed: {failed.text}" if failed else f"installing {release} did not end"
        )
    if host.env.outcome is Outcome.GAVE_WAY and entry:
        return entry.text
    return "nothing is installed in it"
