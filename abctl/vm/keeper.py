"""The life of the guest: start it, wait for its word, watch over it, start it again, end it.

    launch --> STARTING --SUCCESS--> READY ----------+
                  |                                  | it ends
                  +--FAILURE, or no word in time--+  |
                  |                               |  |
                  | a trial, or few such starts   |  |
                  v                               v  v
               end it --> WAITING (1 s, 2 s, 4 s ... 2 min) --> launch
                  | else
                  v
              NOT_READY: left as it is, for somebody to look at

Every start is the launcher's, also after a reboot of the guest: so each begins with what became of the
guest's last boot. A host is never rebooted from here.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from abctl.core.bootstate import MAX_ATTEMPTS
from abctl.core.guest import Domain, Power
from abctl.core.guest_state import GuestState, Hold, Phase
from abctl.core.units import KIB, Seconds
from abctl.errors import AbctlError, ForeignDomain, GuestNotReady, NoHypervisor, ToolFailed
from abctl.vm.description import Description
from abctl.vm.serial import Scanner, Word, clean_lines
from abctl.vm.surroundings import Booting, Serial, Surroundings

log = logging.getLogger(__name__)

_LOOK_EVERY = 1.0  # seconds
_TELL_EVERY = 15.0  # seconds, also where nothing has changed
_PRESS_EVERY = 20.0  # seconds: a guest that was still booting has not heard the first time
_GONE_WITHIN = 30.0  # seconds after its end was forced
_PAUSE_MAX = 120.0  # seconds between two starts
_RECONNECT_EVERY = 2.0  # seconds
_STEADY = 600.0  # seconds; who ran so long begins anew with short pauses
_TAIL = 4 * KIB


@dataclass
class _Current:
    """The start that is watched; ``is_ours`` where this very process made it."""

    run: str
    description: Description
    serial: Serial
    since: Seconds
    started: float
    booting: Booting | None
    is_ours: bool
    phase: Phase = Phase.STARTING
    why: str = "it was started, and has said nothing yet"
    scanner: Scanner = field(default_factory=Scanner)

    @property
    def name(self) -> str:
        return self.description.name

    @property
    def on_trial(self) -> bool:
        return self.booting is not None and self.booting.on_trial

    def last_words(self) -> str:
        lines = clean_lines(self.serial.tail(_TAIL), 1)
        return f"; it said last: {lines[0]}" if lines else "; it said nothing"


class Keeper:
    """Keeps one guest; ``tries`` stands in for that of the description."""

    def __init__(self, host: Surroundings, *, tries: int | None = None) -> None:
        self._host = host
        self._tries = tries
        self._failed = 0
        self._current: _Current | None = None
        self._hold: Hold | None = None  # the one that was obeyed last, None since it is over
        self._told: tuple[float, Phase, str] | None = None

    # --- the service ---

    def run(self) -> NoReturn:
        """Keep the guest running until this process is told to end."""
        while True:
            try:
                self._turn()
            except NoHypervisor as error:
                self._tell(Phase.UNKNOWN, str(error))
                self._pause(_RECONNECT_EVERY)
            except AbctlError as error:
                self._failed += 1
                log.warning("the guest cannot be kept running: %s", error)
                self._tell(Phase.WAITING, str(error))
                self._pause(self._backoff())

    def _turn(self) -> None:
        """One life of the guest, or a while of holding it."""
        if lost := self._host.end_lost_upgrade():
            log.warning("an upgrade of the guest was killed, and keeps it stopped no longer")
        hold = self._host.read_hold()
        if hold is not None:
            self._obey(hold)
            return
        self._hold = None
        if lost:
            self._tell(Phase.WAITING, "its upgrade was killed; it is started again")
        current = self._take()
        self._see_through(current, until_ready=False)

    def _obey(self, hold: Hold) -> None:
        is_new, self._hold = hold != self._hold, hold
        self.stop(hold.why)
        self._failed = 0
        # Who waits for this must not take the word on an earlier hold for one on its own.
        self._tell(Phase.HELD, hold.why, again=is_new)
        self._pause(_TELL_EVERY)

    def _pause(self, seconds: float) -> None:
        """Wait, but no longer than it takes for somebody to hold the guest, or to let it go."""
        until = self._host.since_boot() + seconds
        while (left := until - self._host.since_boot()) > 0:
            if self._host.read_hold() != self._hold:
                return
            self._host.wait(min(left, _LOOK_EVERY))

    def _backoff(self) -> float:
        return float(min(_PAUSE_MAX, 2.0 ** min(self._failed - 1, 10)))

    # --- one start ---

    def runs(self) -> bool:
        """Return whether the guest runs."""
        domain = self._find(self._host.describe())
        return domain is not None and domain.is_active

    def start(self) -> bool:
        """Start the guest where it does not run; return whether it did not."""
        current = self._take()
        return current.is_ours

    def start_and_wait(self) -> GuestState:
        """Start the guest where it does not run, and wait for its word; raise GuestNotReady.

        A trial that does not get healthy is started again until the guest's GRUB falls back.
        """
        while True:
            current = self._take()
            if self._see_through(current, until_ready=True):
                return self._state_of(current.phase, current.why)

    def _take(self) -> _Current:
        """Return the guest that runs, or start it."""
        description = self._host.describe()
        domain = self._find(description)
        if domain is not None and domain.is_active:
            return self._adopt(description, domain)
        if domain is not None:
            self._host.hypervisor.forget(domain)
        return self._launch(description)

    def _find(self, description: Description) -> Domain | None:
        """Return the guest's domain; raise ForeignDomain where it is somebody else's."""
        domain = self._host.hypervisor.find(description.name, description.uuid)
        if domain is None:
            return None
        if domain.tag is None:
            raise ForeignDomain(
                f"a domain {domain.name} ({domain.uuid}) is there that abctl did not make: end it and "
                "remove it, or give the guest another name and UUID in guest.toml"
            )
        if (domain.name, domain.uuid) != (description.name, description.uuid):
            raise ForeignDomain(
                f"a domain {domain.name} with UUID {domain.uuid} runs, and the guest is to be "
                f"{description.name} with {description.uuid}: end the former, or mend guest.toml"
            )
        return domain

    def _adopt(self, description: Description, domain: Domain) -> _Current:
        """Take over a guest that another process started, or this one before libvirt was gone."""
        assert domain.tag is not None
        if self._current is not None and self._current.run == domain.tag.run:
            return self._current
        last = self._host.last_state()
        is_known = last is not None and last.run == domain.tag.run
        self._current = _Current(
            domain.tag.run,
            description,
            self._host.serial(description),
            since=last.since if last and is_known and last.since else self._host.now(),
            started=self._host.since_boot(),
            booting=_booting_of(last) if is_known else None,
            is_ours=False,
        )
        if last is not None and is_known and last.phase in (Phase.READY, Phase.NOT_READY):
            self._current.phase, self._current.why = last.phase, last.why
        log.info("%s runs already", description.name)
        return self._current

    def _launch(self, description: Description) -> _Current:
        self._host.settle(description)
        run = self._host.new_run()
        xml = self._host.prepare(description, run)
        booting = self._host.look(description)
        serial = self._host.serial(description)
        serial.begin()
        self._current = _Current(
            run, description, serial, self._host.now(), self._host.since_boot(), booting, is_ours=True
        )
        # It may take long, as with huge pages; what was said last must not stand meanwhile.
        self._tell(Phase.STARTING, self._current.why)
        self._host.hypervisor.create(xml)
        # A daemon that has just started takes its time, which is not the guest's.
        self._current.started = self._host.since_boot()
        self._tell(Phase.STARTING, self._current.why)
        return self._current

    # --- watching ---

    def _see_through(self, current: _Current, *, until_ready: bool) -> bool:
        """Watch until the guest has ended; with ``until_ready`` True as soon as it is healthy."""
        while True:
            domain = self._find(current.description)
            if domain is None or not domain.is_active or not _is_same(domain, current):
                self._count_end(current, until_ready=until_ready)
                return False
            if not until_ready and (hold := self._host.read_hold()) is not None:
                self._obey(hold)
                return False
            self._listen(current)
            if domain.power is Power.PAUSED:
                self._tell(Phase.PAUSED, domain.detail)
            elif not self._judge(current, until_ready=until_ready):
                return False
            if until_ready and current.phase is Phase.READY:
                return True
            self._host.wait(_LOOK_EVERY)

    def _listen(self, current: _Current) -> None:
        word = current.scanner.feed(current.serial.read())
        if word is Word.SUCCESS and current.phase is not Phase.READY:
            current.phase, current.why = Phase.READY, "it said that it is healthy"
            if current.booting is not None and current.on_trial:
                self._host.note_healthy(current.booting)

    def _judge(self, current: _Current, *, until_ready: bool) -> bool:
        """Tell how it stands; return False where the guest was ended, to be started again."""
        age = self._host.since_boot() - current.started
        if current.phase is Phase.READY and age > _STEADY:
            self._failed = 0
        if current.phase is Phase.STARTING and (problem := _find_problem(current, age)):
            self._failed += 1
            log.warning("%s is not healthy: %s", current.name, problem)
            tries = self._tries or current.description.life.tries
            if current.is_ours and (self._may_fall_back(current) or self._failed < tries):
                self.stop(problem)
                self._tell(Phase.WAITING, problem)
                self._pause(self._backoff())
                return False
            current.phase, current.why = Phase.NOT_READY, problem
        self._tell(current.phase, current.why)
        if until_ready and current.phase is Phase.NOT_READY:
            raise GuestNotReady(
                f"{current.name} runs, but {current.why}; 'abctl guest console' shows its console"
            )
        return True

    def _count_end(self, current: _Current, *, until_ready: bool) -> None:
        """The guest has ended by itself."""
        self._listen(current)
        age = self._host.since_boot() - current.started
        was_ready = current.phase is Phase.READY
        self._current = None
        self._failed = 0 if was_ready and age > _STEADY else self._failed + 1
        early = "" if was_ready else "before it was healthy, "
        why = f"it ended {early}after {age:.0f} s{current.last_words()}"
        log.warning("%s: %s", current.name, why)
        if until_ready and not self._may_fall_back(current):
            raise GuestNotReady(f"{current.name} does not run: {why}")
        self._tell(Phase.WAITING, f"{why}; it is started again")
        self._pause(self._backoff())

    def _may_fall_back(self, current: _Current) -> bool:
        """Whether the guest's GRUB still has to decide; one that cannot count must not go on for ever."""
        return current.on_trial and self._failed <= MAX_ATTEMPTS

    # --- its end ---

    def stop(self, why: str = "", *, limit: float | None = None) -> bool | None:
        """Have the guest power off, and end it where it does not within ``limit`` seconds.

        Return whether its end was forced; None where it did not run.
        """
        description = self._current.description if self._current else self._host.describe()
        domain = self._find(description)
        if domain is None or not domain.is_active:
            self._current = None
            return None
        self._tell(Phase.STOPPING, why or "it was asked to power off")
        limit = description.life.stop_within if limit is None else limit
        hypervisor = self._host.hypervisor
        is_gone = self._await_end(description, limit, press=lambda: hypervisor.press_power_button(domain))
        if not is_gone:
            log.warning("%s did not power off within %.0f s, and is ended", description.name, limit)
            hypervisor.destroy(domain)
            if not self._await_end(description, _GONE_WITHIN):
                raise ToolFailed(
                    f"libvirt does not end {description.name}: 'virsh destroy {description.name}' may say why"
                )
        self._current = None
        self._host.settle(description)
        return not is_gone

    def _await_end(
        self, description: Description, limit: float, press: Callable[[], None] = lambda: None
    ) -> bool:
        begun = pressed = self._host.since_boot()
        if limit > 0:
            press()
        while True:
            domain = self._find(description)
            if domain is None or not domain.is_active:
                return True
            now = self._host.since_boot()
            if now - begun >= limit:
                return False
            if now - pressed >= _PRESS_EVERY:
                press()
                pressed = now
            self._host.wait(min(_LOOK_EVERY, max(0.05, limit - (now - begun))))

    # --- what others see ---

    def tell_stopped(self, why: str) -> None:
        """Say that nobody watches over the guest from now on, and it does not run."""
        self._tell(Phase.STOPPED, why)

    def _tell(self, phase: Phase, why: str, *, again: bool = False) -> None:
        now = self._host.since_boot()
        if not again and self._told and self._told[1:] == (phase, why) and now - self._told[0] < _TELL_EVERY:
            return
        self._told = (now, phase, why)
        self._host.tell(self._state_of(phase, why))

    def _state_of(self, phase: Phase, why: str) -> GuestState:
        current = self._current
        booting = current.booting if current else None
        return GuestState(
            at=self._host.now(),
            beat=self._host.since_boot(),
            phase=phase,
            why=why,
            run=current.run if current else None,
            since=current.since if current else None,
            failed=self._failed,
            slot_set=booting.slot_set if booting else None,
            version=booting.version if booting else None,
            on_trial=bool(booting and booting.on_trial),
            generation=booting.generation if booting else None,
        )


def _booting_of(state: GuestState | None) -> Booting | None:
    if state is None or state.slot_set is None or state.generation is None:
        return None
    return Booting(state.slot_set, state.version, state.on_trial, state.generation)


def _is_same(domain: Domain, current: _Current) -> bool:
    return domain.tag is not None and domain.tag.run == current.run


def _find_problem(current: _Current, age: float) -> str | None:
    """Return why the guest is not healthy, once that is clear."""
    if current.scanner.found is Word.FAILURE:
        return f"it said that its boot failed{current.last_words()}"
    limit = current.description.life.ready_within
    if age >= limit:
        return f"it did not say within {limit} s that it is healthy{current.last_words()}"
    return None
