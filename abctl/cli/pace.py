"""How fast each step of an installation goes, and the words for it that every form of progress shares."""

from abctl.core.problems import clean_text
from abctl.core.slot import Part
from abctl.core.units import format_size
from abctl.update.progress import Progress, Step

_DOING = {
    Step.PROVE: "checking",
    Step.SURVEY: "comparing",
    Step.FETCH: "fetching",
    Step.WRITE: "writing",
    Step.READ_BACK: "reading back",
    Step.PACK: "packing",
    Step.UNPACK: "unpacking",
    Step.DELTA: "delta of",
}
_DONE = {
    Step.PROVE: "checked",
    Step.SURVEY: "compared",
    Step.FETCH: "fetched",
    Step.WRITE: "wrote",
    Step.READ_BACK: "read back",
    Step.PACK: "packed",
    Step.UNPACK: "unpacked",
    Step.DELTA: "made delta of",
}
_WINDOW = 10.0  # seconds that count for the rate: it follows the link and does not flicker
_SOON = 0.05  # seconds within which a rate says nothing yet

Key = tuple[Step, Part]


class Pace:
    """One step of one image, as far as it is known by now; times are seconds of one monotonic clock."""

    def __init__(self, progress: Progress, now: float) -> None:
        self.step, self.part = progress.step, progress.part
        self.done, self.total = progress.done, progress.total
        self.began = self.ended = now
        self._first = progress.done
        self._old = self._middle = (now, progress.done)

    def follow(self, progress: Progress, now: float) -> None:
        """Take the newest figures."""
        self.done, self.total, self.ended = progress.done, progress.total, now
        if now - self._middle[0] >= _WINDOW / 2:
            self._old, self._middle = self._middle, (now, progress.done)

    @property
    def key(self) -> Key:
        return self.step, self.part

    @property
    def is_finished(self) -> bool:
        return self.done >= self.total

    @property
    def took(self) -> float:
        return self.ended - self.began

    def rate(self, now: float) -> float | None:
        """Return bytes a second: lately, or in all where it is finished; None where that is not known yet."""
        since, before = (self.began, self._first) if self.is_finished else self._old
        took = (self.ended if self.is_finished else now) - since
        return max(0.0, (self.done - before) / took) if took >= _SOON else None

    def left(self, now: float) -> float | None:
        """Return the seconds that are left at this rate; None where that is not known."""
        rate = self.rate(now)
        if self.is_finished:
            return 0.0
        return (self.total - self.done) / rate if rate else None


class Paces:
    """All steps of an installation, as they were seen."""

    def __init__(self) -> None:
        self.all: dict[Key, Pace] = {}

    def see(self, progress: Progress, now: float) -> Pace | None:
        """Return the step that went on by this; None where nothing is new."""
        key = (progress.step, progress.part)
        pace = self.all.get(key)
        if pace is None:
            pace = self.all[key] = Pace(progress, now)
            return pace
        if (pace.done, pace.total) == (progress.done, progress.total):
            return None
        pace.follow(progress, now)
        return pace

    @property
    def running(self) -> list[Pace]:
        return [pace for pace in self.all.values() if not pace.is_finished]


# --- words ------------------------------------------------------------------------------------------


def say_doing(step: Step, part: Part) -> str:
    """Return what goes on: ``reading back root``."""
    return f"{_DOING[step]} {part}"


def say_amount(pace: Pace) -> str:
    """Return how much of how much is done."""
    total = format_size(pace.total)
    return total if pace.is_finished else f"{format_size(pace.done)} of {total}"


def say_percent(pace: Pace) -> str:
    return f"{min(100, 100 * pace.done // pace.total) if pace.total else 100} %"


def say_rate(pace: Pace, now: float) -> str:
    rate = pace.rate(now)
    return "" if rate is None else f"{format_size(int(rate))}/s"


def say_left(pace: Pace, now: float) -> str:
    left = pace.left(now)
    return "" if left is None else f"{say_duration(left)} left"


def say_running(pace: Pace, now: float) -> str:
    """Return all that is known about a step that is under way."""
    line = f"{say_doing(pace.step, pace.part)}: {say_amount(pace)} ({say_percent(pace)})"
    return ", ".join(filter(None, (line, say_rate(pace, now), say_left(pace, now))))


def say_finished(pace: Pace) -> str:
    """Return what a step came to."""
    doing = f"{_DONE[pace.step]} {pace.part}"
    if not pace.total:
        return f"{doing}: nothing to do"
    rate = f", {format_size(int(pace.total / pace.took))}/s" if pace.took >= 1 else ""
    return f"{doing}: {say_amount(pace)} in {pace.took:.1f} s{rate}"


def say_remark(text: str) -> str:
    """Return a remark fit for a terminal: it may name what came from outside."""
    return clean_text(text)


def say_duration(seconds: float) -> str:
    """Return a time for people: ``45 s``, ``3 min 05 s`` or ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"  # noqa: PLR2004
