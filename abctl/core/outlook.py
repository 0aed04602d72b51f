"""What would happen: at the next power-ons if nobody does anything, and if an admin said a word now.

Nothing is decided here: GRUB's part is ``bootenv.next_boot``, the other ``machine.transition``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from abctl.core.bootenv import EnvFiles, Origin, Why
from abctl.core.bootstate import MAX_ATTEMPTS
from abctl.core.grub import answer, choose_copy, next_boot, save_in_copies
from abctl.core.machine import Confirm, Event, Host, InstallStarted, RollBack, Settle, transition
from abctl.core.slot import SlotName
from abctl.core.units import Digest, Seconds
from abctl.errors import AbctlError

POWER_ONS_MAX = 2 * MAX_ATTEMPTS  # a trial is over before, and what comes then comes again


@dataclass(frozen=True, slots=True)
class Foreseen:
    """One power-on: ``chosen`` is GRUB's first choice, ``booted`` whose kernel starts, None for nobody's."""

    chosen: SlotName
    booted: SlotName | None
    second: SlotName | None
    why: Why
    attempts: str


def foresee(
    files: EnvFiles, kernels: Mapping[SlotName, bool], power_ons: int = POWER_ONS_MAX
) -> tuple[Foreseen, ...]:
    """Return what the next power-ons do where nobody confirms, and a primary that boots comes up."""
    return tuple(_foresee(files, kernels, power_ons))


def _foresee(files: EnvFiles, kernels: Mapping[SlotName, bool], power_ons: int) -> Iterator[Foreseen]:
    for _ in range(power_ons):
        boot = next_boot(files)
        files = boot.files
        has_kernel = kernels[boot.slot_set]
        way_out = boot.second if boot.second and kernels[boot.second] else None
        booted = boot.slot_set if has_kernel else way_out
        why = boot.why if has_kernel or booted is None else Why.NO_KERNEL
        if boot.why is Why.TRIAL and not has_kernel:
            files = _without_attempts(files)
        yield Foreseen(boot.slot_set, booted, boot.second, why, boot.attempts)
        if booted and why in (Why.PRIMARY, Why.FALLBACK):
            files = answer(files)


def _without_attempts(files: EnvFiles) -> EnvFiles:
    """Return the copies as grub.cfg leaves them where a trial's kernel cannot be loaded."""
    origin, _ = choose_copy(files)
    # The older system's only attempt is spent already.
    return files if origin is Origin.OLDER else save_in_copies(files, origin, "attempts", "0")[0]


# --- an admin's word --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """What the machine says to an admin's word: ``after`` is the host as it would be, or it is refused."""

    word: str
    before: Host
    after: Host | None
    refusal: AbctlError | None = None


def ask(host: Host, now: Seconds) -> tuple[Answer, ...]:
    """Return the answers to upgrade, confirm and rollback; performs nothing.

    As with every command, how the last trial ended is recorded first.
    """
    settled, _ = transition(with_room(host), Settle(now))
    words: dict[str, Event] = {
        "upgrade": InstallStarted(now, None, Digest("0" * 64)),
        "confirm": Confirm(now),
        "rollback": RollBack(now),
    }
    return tuple(_ask(settled, word, event) for word, event in words.items())


def _ask(host: Host, word: str, event: Event) -> Answer:
    try:
        after, _ = transition(host, event)
    except AbctlError as error:
        return Answer(word, host, None, error)
    return Answer(word, host, after)


def with_room(host: Host) -> Host:
    """Return the same host with room for the next generation, which a damaged one may not have."""
    running = replace(host.running, generation=None if host.why else 0)
    return replace(host, env=replace(host.env, generation=1), running=running)
