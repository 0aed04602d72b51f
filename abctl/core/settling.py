"""What boots come to: a trial that ended or gave up, a primary that came up or gave way.

``machine`` is the table of all events; the ones here come from no admin and no upgrade.
"""

from dataclasses import replace

from abctl.core.bootstate import MAX_ATTEMPTS, UNSETTLED_MAX, Outcome, SlotState, Why
from abctl.core.events import CameUp, Decision, Host, Settle, Unhealthy, decide
from abctl.core.record import Entry, Happened, Record
from abctl.core.refusing import refuse
from abctl.core.slot import SlotName
from abctl.core.units import Seconds

NO_KERNEL = "its kernel could not be loaded"
NOTED_LATER = "noted later: the power went before it could be"
NEVER_CAME_UP = f"its last {UNSETTLED_MAX} boots never came as far as the health service"


def settle(host: Host, event: Settle) -> Decision:
    env = host.env
    if _gave_way(host):
        # It is confirmed and runs, so it carries the host from now on; the other can be written again.
        lost, way_out = env.primary, env.primary.other
        taken_over = replace(env.with_primary(way_out), outcome=Outcome.GAVE_WAY).with_state(
            lost, SlotState.UNTESTED
        )
        entry = Entry(event.at, Happened.GAVE_WAY, lost, env[lost].version, text=NO_KERNEL)
        return decide(host, taken_over, host.record.with_entry(entry))
    ended = find_ended_trial(host)
    if ended is None or env.trial is None:
        return decide(host, env, _with_confirmation(host, event.at))
    if host.why is Why.UNSAVED:
        return _call_off_unsaved(host, event.at, env.trial.slot_set, ended)
    reason = f"{ended}; {event.note}" if event.note else ended
    return end_trial(host, event.at, reason, Outcome.FELL_BACK, Happened.FELL_BACK)


def _with_confirmation(host: Host, at: Seconds) -> Record:
    """Return the record with the entry of a confirmation that a power cut came in between."""
    env, entries = host.env, host.record.entries
    armed = entries[-1] if entries and env.outcome is Outcome.CONFIRMED else None
    if armed is None or (armed.what, armed.slot_set) != (Happened.INSTALLED, env.primary):
        return host.record
    entry = Entry(at, Happened.CONFIRMED, env.primary, env[env.primary].version, text=NOTED_LATER)
    return host.record.with_entry(entry)


def _call_off_unsaved(host: Host, at: Seconds, trial: SlotName, ended: str) -> Decision:
    """End a trial that GRUB could not count: not the release's fault, so its slot set stays what it is.

    At the second time its version is refused all the same, or an unattended host would reboot for ever.
    """
    version = host.env[trial].version
    entry = Entry(at, Happened.CALLED_OFF, trial, version, text=ended)
    record = host.record
    if record.was_called_off(version, entry.text):
        record = refuse(host, at, trial, f"{ended}, and not for the first time")
    called_off = replace(host.env, trial=None, outcome=Outcome.CALLED_OFF)
    return decide(host, called_off, record.with_entry(entry))


def _gave_way(host: Host) -> bool:
    env, running = host.env, host.running
    return (
        host.why is Why.NO_KERNEL
        and running.passed_over is env.primary
        and not running.disagreement
        and running.kernel is env.primary.other
        and env[env.primary.other].state is SlotState.GOOD
    )


def come_up(host: Host, event: CameUp) -> Decision:
    env, running = host.env, host.running
    if env.trial or running.disagreement or running.kernel is None:
        return host, ()
    if running.kernel is env.primary:
        answered = replace(env, answering=env.answering | {env.primary}, unsettled=0)
        return decide(host, answered, _with_confirmation(host, event.at))
    # Not by the generation: mending the copies may have given them another one since GRUB said so.
    is_its_turn = running.why is Why.UNSETTLED and env.unsettled > UNSETTLED_MAX
    if not is_its_turn or running.passed_over is not env.primary:
        return host, ()
    return _take_over(host, event.at)


def _take_over(host: Host, at: Seconds) -> Decision:
    """Make what runs the primary, whatever its state: it came up, and the primary does not.

    The primary was confirmed once, so what ails it may be its disk, or an admin with a power switch: its
    version may be installed again, which mends a damaged slot set. If it gave way before, it is the release.
    """
    env = host.env
    lost, way_out = env.primary, env.primary.other
    record = host.record.with_entry(Entry(at, Happened.GAVE_WAY, lost, env[lost].version, text=NEVER_CAME_UP))
    state = SlotState.UNTESTED if env[lost].state is SlotState.GOOD else env[lost].state
    if host.record.gave_way(env[lost].version):
        state = SlotState.BAD
        record = refuse(
            replace(host, record=record), at, lost, f"{NEVER_CAME_UP}, and not for the first time"
        )
    taken_over = replace(
        env.with_primary(way_out), outcome=Outcome.GAVE_WAY, answering=env.answering | {way_out}
    ).with_state(lost, state)
    return decide(host, taken_over, record)


def give_up_trial(host: Host, event: Unhealthy) -> Decision:
    env, running = host.env, host.running
    # A mixed system is no slot set that could be the primary: nothing is changed from it.
    if env.trial is None or running.disagreement or must_reboot(host):
        return host, ()
    trial = env.trial.slot_set
    if running.kernel is not trial:
        return host, ()
    stays = (
        replace(env, trial=None, outcome=Outcome.STAYED_UP)
        .with_primary(trial)
        .with_state(trial, SlotState.BAD)
    )
    if running.passed_over is env.primary and env[env.primary].state is SlotState.GOOD:
        stays = stays.with_state(env.primary, SlotState.UNTESTED)
    entry = Entry(event.at, Happened.STAYED_UP, trial, env[trial].version, text=event.reason)
    record = refuse(host, event.at, trial, event.reason).with_entry(entry)
    return decide(host, stays, record, record_first=True)


def must_reboot(host: Host) -> bool:
    """Whether a trial that gave up is to be left by a reboot: GRUB tries it again, or boots the primary.

    Not where the primary is known to be bad, or has no kernel: then what runs, and can be reached, is the
    better one. The answer is the same before and after ``Unhealthy``.
    """
    env = host.env
    if env.trial is None or host.running.kernel is not env.trial.slot_set:
        return False
    # With its attempts used up a trial runs only because GRUB cannot load the primary, and comes back to it.
    if host.running.passed_over is env.primary:
        return False
    return env[env.primary].state in (SlotState.GOOD, SlotState.UNTESTED)


def find_ended_trial(host: Host) -> str | None:
    """Return why the trial is over although nobody said so, or None where it is not."""
    env, running = host.env, host.running
    if env.trial is None or running.kernel is env.trial.slot_set:
        return None
    if host.why is Why.UNSAVED:
        return "GRUB could not write the boot environment, so it did not spend an attempt"
    if host.why is Why.NO_KERNEL and running.passed_over is env.trial.slot_set:
        return NO_KERNEL
    if env.trial.attempts == 0:
        return f"never confirmed: all {MAX_ATTEMPTS} attempts are used up"
    return None


def end_trial(host: Host, at: Seconds, reason: str, outcome: Outcome, what: Happened) -> Decision:
    """End the trial as a failure: bad slot set, refused version, and the reason kept."""
    assert host.env.trial is not None
    trial = host.env.trial.slot_set
    env = replace(host.env, trial=None, outcome=outcome).with_state(trial, SlotState.BAD)
    entry = Entry(at, what, trial, host.env[trial].version, text=reason)
    record = host.record
    # Where the boot environment cannot be written, every boot comes here again; once is enough.
    if not record.entries or replace(record.entries[-1], at=at, text=reason) != entry:
        record = refuse(host, at, trial, reason).with_entry(entry)
    # The record first: between the two, the next Settle comes to the same end.
    return decide(host, env, record, record_first=True)
