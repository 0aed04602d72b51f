"""A host with a guest that plays a part, in a time of its own: libvirt, the console, and the power button."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from xml.etree import ElementTree

from abctl.core.guest import METADATA_URI, Domain, Power, Tag
from abctl.core.guest_state import GuestState, Hold
from abctl.core.slot import SlotName
from abctl.core.units import Seconds
from abctl.errors import NoHypervisor, ToolFailed
from abctl.vm.description import Description, LifeForm
from abctl.vm.domain import Start, make_xml
from abctl.vm.serial import Word
from abctl.vm.surroundings import Booting

SUCCESS, FAILURE = Word.SUCCESS.value, Word.FAILURE.value


@dataclass(frozen=True)
class Play:
    """What the guest does in one start; times in seconds after it. ``deaf``: it ignores the power button."""

    says: tuple[tuple[float, bytes], ...] = ((5.0, b"[  OK  ] " + SUCCESS + b"\r\n"),)
    ends: float | None = None
    deaf: bool = False
    power_off_takes: float = 3.0


SILENT = Play(says=((1.0, b"Loading Linux...\r\n"),))
CRASHING = replace(SILENT, ends=4.0)
FAILING = Play(says=((3.0, b"no network\r\n" + FAILURE + b"\r\n"),))


@dataclass
class _Running:
    domain: Domain
    play: Play
    started: float
    off_at: float | None
    power: Power = Power.RUNNING


class FakeGuestHost:
    """Implements vm.surroundings.Surroundings; ``plays`` are the starts to come, the last for good."""

    def __init__(self, *plays: Play, description: Description | None = None) -> None:
        self.description = description or Description(life=LifeForm(ready_within=60, stop_within=30))
        self.plays = list(plays) or [Play()]
        self.time = 1000.0
        self.running: _Running | None = None
        self.stranger: Domain | None = None
        self.starts: list[float] = []
        self.presses = 0
        self.destroyed = 0
        self.held: str | None = None
        self.holds = 0  # how often somebody asked; the words may be the same
        self.upgrade_is_lost = False
        self.states: list[GuestState] = []
        self.healthy: list[Booting] = []
        self.booting: Booting | None = None
        self.settled = 0
        self.gone = False  # libvirt's daemon is
        self.unfit: Exception | None = None
        self.at: list[tuple[float, Callable[[], None]]] = []
        self._log = b""
        self._said = 0
        self._read = 0

    # --- the world ---

    @property
    def state(self) -> GuestState:
        return self.states[-1]

    @property
    def seen(self) -> list[str]:
        """The phases in their order, each once in a row."""
        phases = [state.phase.value for state in self.states]
        return [phase for number, phase in enumerate(phases) if number == 0 or phases[number - 1] != phase]

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        self.at.append((self.time + seconds, act))

    def _advance(self, seconds: float) -> None:
        until = self.time + seconds
        for due in sorted((item for item in self.at if item[0] <= until), key=lambda item: item[0]):
            self.at.remove(due)
            self.time = max(self.time, due[0])
            due[1]()
        self.time = until

    def _guest(self) -> _Running | None:
        """Let the guest do what it does until now."""
        running = self.running
        if running is None:
            return None
        age = self.time - running.started
        for when, text in running.play.says[self._said :]:
            if when <= age and (running.off_at is None or running.started + when < running.off_at):
                self._log += text
                self._said += 1
        if running.off_at is not None and self.time >= running.off_at:
            self.running = None
        return self.running

    # --- vm.surroundings.Surroundings ---

    @property
    def hypervisor(self) -> "FakeGuestHost":
        return self

    def serial(self, description: Description) -> "FakeGuestHost":
        return self

    def now(self) -> Seconds:
        return Seconds(int(self.time))

    def since_boot(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        assert seconds > 0
        self._advance(seconds)

    def describe(self) -> Description:
        return self.description

    def new_run(self) -> str:
        return f"run-{len(self.starts)}"

    def prepare(self, description: Description, run: str) -> str:
        assert self._guest() is None, "a start is prepared while the guest runs"
        if self.unfit is not None:
            raise self.unfit
        return make_xml(description, Start(run, "6a:01:00:ec:bd:51", hugepages=False, media=None))

    def settle(self, description: Description) -> None:
        assert self._guest() is None, "the guest's disk is written while it runs"
        self.settled += 1

    def look(self, description: Description) -> Booting | None:
        return self.booting

    def note_healthy(self, booting: Booting) -> None:
        self.healthy.append(booting)

    def read_hold(self) -> Hold | None:
        return None if self.held is None else Hold(self.held, self.holds)

    def end_lost_upgrade(self) -> bool:
        lost, self.upgrade_is_lost = self.upgrade_is_lost, False
        return lost

    def last_state(self) -> GuestState | None:
        return self.states[-1] if self.states else None

    def tell(self, state: GuestState) -> None:
        self.states.append(state)

    # --- vm.surroundings.Hypervisor ---

    def _ask(self) -> None:
        if self.gone:
            raise NoHypervisor("libvirt's daemon does not answer")

    def find(self, name: str, uuid: str) -> Domain | None:
        self._ask()
        running = self._guest()
        return replace(running.domain, power=running.power) if running else self.stranger

    def create(self, xml: str) -> None:
        self._ask()
        if self._guest() is not None or (self.stranger and self.stranger.is_active):
            raise ToolFailed("a domain of this name is there already")
        root = ElementTree.fromstring(xml)
        tag = root.find(f"metadata/{{{METADATA_URI}}}guest")
        assert tag is not None
        play = self.plays.pop(0) if len(self.plays) > 1 else self.plays[0]
        domain = Domain(
            root.findtext("name", ""),
            root.findtext("uuid", ""),
            Power.RUNNING,
            Tag(tag.get("run", ""), tag.get("description", "")),
        )
        off_at = None if play.ends is None else self.time + play.ends
        self.running = _Running(domain, play, self.time, off_at)
        self.starts.append(self.time)
        self._said = 0

    def press_power_button(self, domain: Domain) -> None:
        self._ask()
        self.presses += 1
        if self.running and not self.running.play.deaf and self.running.off_at is None:
            self.running.off_at = self.time + self.running.play.power_off_takes

    def destroy(self, domain: Domain) -> None:
        self._ask()
        self.destroyed += 1
        self.running = None

    def forget(self, domain: Domain) -> None:
        self.stranger = None

    # --- vm.surroundings.Serial ---

    def begin(self) -> None:
        self._log, self._read = b"", 0

    def read(self) -> bytes:
        self._guest()
        data, self._read = self._log[self._read :], len(self._log)
        return data

    def tail(self, size: int) -> bytes:
        return self._log[-size:]


def trial(slot_set: SlotName = SlotName.B, generation: int = 7) -> Booting:
    return Booting(slot_set, "2.0.0", on_trial=True, generation=generation)


class Over(BaseException):
    """The test has seen enough; stands in for the signal that ends the service."""


def until(host: FakeGuestHost, seconds: float) -> None:
    """Have the service interrupted after so many seconds."""

    def interrupt() -> None:
        raise Over

    host.after(seconds, interrupt)
