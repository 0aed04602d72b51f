"""Progress: alive on a terminal, sparing in a log, lines for programs, silent where nobody wants it."""

import io
import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abctl.cli.pace import Pace, say_duration, say_remark
from abctl.cli.progress import Form, PlainProgress, choose_form, show_progress
from abctl.cli.progress_json import JsonProgress
from abctl.core.slot import Part, SlotName
from abctl.core.units import GIB, MIB
from abctl.update.progress import Progress, Remark, Step
from tests.disks import copy_image
from tests.hostile_server import Behaviour, HostileServer
from tests.releases import Archive, Release, make_archive, make_release
from tests.test_cli import ABCTL, Machine, Said, run
from tests.test_schemas import _spoil, read_validator

pytestmark = pytest.mark.slow

WRITE_ALL = """
import sys
from abctl.cli.progress import Form, show_progress
from abctl.core.slot import Part
from abctl.update.progress import Progress, Remark, Step
with show_progress(sys.stderr, Form(sys.argv[1])) as tell:
    for done in (0, 5, 10):
        tell(Progress(Step.FETCH, Part.BOOT, done << 18, 10 << 18))
        tell(Progress(Step.WRITE, Part.ROOT, done << 30, 10 << 30))
    tell(Remark("the delta from 1.9 does not apply: 12.3 MiB more to fetch"))
sys.exit(3 if "rich" in sys.modules else 0)
"""
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def write_root(done: int, total: int = 10 * GIB) -> Progress:
    return Progress(Step.WRITE, Part.ROOT, done, total)


def fetch_root(done: int, total: int) -> Progress:
    return Progress(Step.FETCH, Part.ROOT, done, total)


def make_clock(tick: float) -> Callable[[], float]:
    ticks = count()
    return lambda: next(ticks) * tick


# --- lines for people -------------------------------------------------------------------------------


def test_a_log_gets_a_line_every_two_seconds_and_one_at_the_end() -> None:
    lines: list[str] = []
    tell = PlainProgress(lines.append, make_clock(0.5))
    for step in range(20):
        tell(write_root(step * 512 * MIB))
    tell(write_root(10 * GIB))
    tell(write_root(10 * GIB))
    assert lines == [
        "abctl: writing root: 1.5 GiB of 10 GiB (15 %), 1 GiB/s, 8 s left",
        "abctl: writing root: 3.5 GiB of 10 GiB (35 %), 1 GiB/s, 6 s left",
        "abctl: writing root: 5.5 GiB of 10 GiB (55 %), 1 GiB/s, 4 s left",
        "abctl: writing root: 7.5 GiB of 10 GiB (75 %), 1 GiB/s, 2 s left",
        "abctl: writing root: 9.5 GiB of 10 GiB (95 %), 1 GiB/s, 0 s left",
        "abctl: wrote root: 10 GiB in 10.0 s, 1 GiB/s",
    ]


def test_a_line_tells_all_that_is_under_way_and_most_about_what_takes_longest() -> None:
    lines: list[str] = []
    tell = PlainProgress(lines.append, make_clock(0.25))
    for step in range(9):
        tell(fetch_root(step * MIB, 100 * MIB))
        tell(write_root(step * GIB))
    assert lines == [
        "abctl: fetching root: 3 MiB of 100 MiB (3 %), 1.7 MiB/s, 57 s left; writing root 30 %",
        "abctl: fetching root: 7 MiB of 100 MiB (7 %), 1.9 MiB/s, 50 s left; writing root 70 %",
    ]


def test_a_total_that_grows_is_followed_also_after_the_end() -> None:
    lines: list[str] = []
    tell = PlainProgress(lines.append, make_clock(1))
    for done, total in ((0, 2), (2, 2), (2, 4), (3, 4), (3, 4), (4, 4)):
        tell(fetch_root(done * MIB, total * MIB))
    tell(Remark("the delta from 1.9 does not apply"))
    assert lines == [
        "abctl: fetched root: 2 MiB in 1.0 s, 2 MiB/s",
        "abctl: fetching root: 2 MiB of 4 MiB (50 %), 1 MiB/s, 2 s left",
        "abctl: fetched root: 4 MiB in 5.0 s, 819.2 KiB/s",
        "abctl: the delta from 1.9 does not apply",
    ]


def test_each_step_of_each_image_says_that_it_is_done() -> None:
    lines: list[str] = []
    tell = PlainProgress(lines.append, clock=lambda: 0.0)
    for step in Step:
        tell(Progress(step, Part.BOOT, MIB, MIB))
    tell(Progress(Step.FETCH, Part.ROOT, 0, 0))
    assert lines == [
        "abctl: checked boot: 1 MiB in 0.0 s",
        "abctl: compared boot: 1 MiB in 0.0 s",
        "abctl: fetched boot: 1 MiB in 0.0 s",
        "abctl: wrote boot: 1 MiB in 0.0 s",
        "abctl: read back boot: 1 MiB in 0.0 s",
        "abctl: packed boot: 1 MiB in 0.0 s",
        "abctl: unpacked boot: 1 MiB in 0.0 s",
        "abctl: made delta of boot: 1 MiB in 0.0 s",
        "abctl: fetched root: nothing to do",
    ]


def test_a_rate_forgets_what_was_long_ago_and_counts_a_stall() -> None:
    pace = Pace(write_root(0), 0.0)
    for second in range(1, 101):
        pace.follow(write_root(second * MIB if second <= 50 else 50 * MIB + (second - 50) * 10 * MIB), second)
    assert pace.rate(100) == pytest.approx(10 * MIB)
    stalled = pace.rate(120)
    assert stalled is not None
    assert stalled < 4 * MIB
    assert Pace(write_root(0), 0.0).rate(0.01) is None


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59.4, "59 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_times_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert say_duration(seconds) == said


def test_a_remark_cannot_steer_a_terminal() -> None:
    assert say_remark("a \x1b[31mred\n one") == "a ?[31mred? one"


# --- which form -------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "term", "as_json", "form"),
    [
        (Terminal(), "xterm", False, Form.LIVE),
        (Terminal(), "dumb", False, Form.PLAIN),
        (io.StringIO(), "xterm", False, Form.PLAIN),
        (Terminal(), "xterm", True, Form.NONE),
        (None, "xterm", False, Form.NONE),
    ],
)
def test_the_form_follows_the_stream(
    stream: io.StringIO | None, term: str, as_json: bool, form: Form
) -> None:
    assert choose_form(Form.AUTO, stream, as_json=as_json, environ={"TERM": term}) is form


def test_a_form_that_was_asked_for_is_taken() -> None:
    for form in (Form.LIVE, Form.PLAIN, Form.JSON, Form.NONE):
        assert choose_form(form, io.StringIO(), as_json=True) is form


def test_nothing_is_shown_where_nobody_wants_it() -> None:
    stream = io.StringIO()
    with show_progress(stream, Form.NONE) as tell:
        tell(write_root(10 * GIB))
        tell(Remark("a word"))
    assert stream.getvalue() == ""


def test_a_log_costs_no_import_of_rich() -> None:
    command = [sys.executable, "-c", WRITE_ALL, "plain"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    fetched, wrote, remark = done.stderr.splitlines()
    assert re.fullmatch(r"abctl: fetched boot: 2.5 MiB in \d+\.\d s", fetched)
    assert re.fullmatch(r"abctl: wrote root: 10 GiB in \d+\.\d s", wrote)
    assert remark == "abctl: the delta from 1.9 does not apply: 12.3 MiB more to fetch"


def watch_on_a_terminal(command: list[str], columns: int = 80) -> tuple[int, str]:
    """Run a command with its standard error on a terminal; return its exit code and what was shown."""
    master, slave = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "LINES": "24"}
    seen: list[bytes] = []

    def collect() -> None:
        try:
            while data := os.read(master, 64 * 1024):
                seen.append(data)
        except OSError:  # the other side is closed
            return

    thread = threading.Thread(target=collect)
    thread.start()
    done = subprocess.run(command, stderr=slave, stdout=subprocess.DEVNULL, env=environ, check=False)
    os.close(slave)
    thread.join()
    os.close(master)
    return done.returncode, ESCAPE.sub("", b"".join(seen).decode())


def test_a_terminal_gets_a_bar_for_each_step_and_no_line_is_too_long() -> None:
    code, shown = watch_on_a_terminal([sys.executable, "-c", WRITE_ALL, "live"])
    assert code == 3
    assert re.search(r"writing root +━+ +100 % +10 GiB", shown)
    assert re.search(r"fetching boot +━+ +100 % +2.5 MiB", shown)
    assert "abctl: the delta from 1.9 does not apply: 12.3 MiB more to fetch" in shown
    assert max(len(line) for line in re.split(r"[\r\n]+", shown)) <= 80
    assert "…" not in shown


# --- lines for programs -----------------------------------------------------------------------------


def read_lines(text: str) -> list[Any]:
    """Return the lines of a stream, after comparing each with its schema."""
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        read_validator("progress").validate(line)
    return lines


class Listener:
    """A program that reads the lines of a JsonProgress whose clock it sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.said: list[str] = []
        self.tell = JsonProgress(self.said.append, lambda: self.now)

    @property
    def lines(self) -> list[Any]:
        return read_lines("\n".join(self.said))

    @property
    def events(self) -> list[tuple[str, str, int, int]]:
        return [(line["event"], line["step"], line["done"], line["total"]) for line in self.lines]


def test_a_program_is_told_begin_course_and_end_with_rate_and_time_left() -> None:
    listener = Listener()
    for second in range(5):
        listener.now = second
        listener.tell(write_root(second * MIB, 4 * MIB))
    assert [(line["event"], line["rate"], line["left"]) for line in listener.lines] == [
        ("began", None, None),
        ("progress", MIB, 3.0),
        ("progress", MIB, 2.0),
        ("progress", MIB, 1.0),
        ("finished", MIB, 0.0),
    ]


def test_a_step_that_has_more_to_do_after_its_end_finishes_again() -> None:
    listener = Listener()
    for done, total in ((0, 2), (2, 2), (2, 2), (2, 3), (3, 3)):
        listener.now += 1
        listener.tell(fetch_root(done, total))
    assert listener.events == [
        ("began", "fetch", 0, 2),
        ("finished", "fetch", 2, 2),
        ("progress", "fetch", 2, 3),
        ("finished", "fetch", 3, 3),
    ]


@given(
    st.lists(
        st.tuples(st.sampled_from(Step), st.sampled_from(Part), st.integers(0, 50), st.integers(0, 20)),
        max_size=100,
    )
)
def test_no_more_than_five_lines_a_second_come_between_begins_and_ends(
    reports: list[tuple[Step, Part, int, int]],
) -> None:
    """Whatever steps interleave; and each line is as the schema says."""
    listener = Listener()
    begun = set()
    for step, part, milliseconds, done in reports:
        listener.now += milliseconds / 1000
        listener.tell(Progress(step, part, done, 20))
        begun.add((step, part))
    lines = listener.lines
    assert sum(line["event"] == "progress" for line in lines) <= listener.now * 5
    assert {(line["step"], line["part"]) for line in lines if line["event"] == "began"} == begun


def test_every_step_that_goes_on_is_heard_of_in_turn() -> None:
    listener = Listener()
    for tick in range(1000):
        listener.now = tick / 100
        listener.tell(write_root(tick, 2000))
        listener.tell(fetch_root(tick, 2000))
    told = [step for event, step, _, _ in listener.events if event == "progress"]
    assert told[:4] in (["write", "fetch", "write", "fetch"], ["fetch", "write", "fetch", "write"])
    assert 45 <= len(told) <= 50


# --- the real command -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return make_release(tmp_path_factory.mktemp("release") / "2", "2", layout="guestos-small")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return make_archive(tmp_path_factory.mktemp("archive") / "update-img.tar.zst", "2")


@pytest.fixture(scope="module")
def created(tmp_path_factory: pytest.TempPathFactory, two: Release) -> tuple[Path, Said]:
    image = tmp_path_factory.mktemp("disk") / "host.img"
    first = ("--layout", "guestos-small", "--release", two.directory, "--sha256", two.manifest_sha256)
    return image, run(ABCTL, "disk", "create", image, *first, "--progress", "json")


@pytest.fixture
def guest(created: tuple[Path, Said], tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(copy_image(created[0], tmp_path / "guest.img"))
    yield machine
    machine.image.unlink()


def list_steps(lines: list[Any], event: str) -> set[tuple[str, str]]:
    return {(line["step"], line["part"]) for line in lines if line["event"] == event}


def assert_frames(lines: list[Any], code: int) -> Any:
    """The first line says the form and the last how it ended, which is returned."""
    assert lines[0] == {"event": "start", "schema": "urn:abctl:schema:progress", "version": 1}
    assert [line["event"] for line in lines].count("end") == 1
    assert (lines[-1]["event"], lines[-1]["ok"], lines[-1]["exit_code"]) == ("end", code == 0, code)
    return lines[-1]


def test_an_upgrade_tells_a_program_each_step_from_begin_to_end(guest: Machine, two: Release) -> None:
    said = guest.upgrade(two, "--progress", "json", "--json")
    lines = read_lines(said.err)
    assert said.json("install")["version"] == "2"
    assert assert_frames(lines, said.code)["error"] is None
    assert list_steps(lines, "began") == list_steps(lines, "finished")
    assert {("prove", "root"), ("write", "boot"), ("read_back", "root")} <= list_steps(lines, "finished")


def test_the_making_of_a_disk_tells_a_program_each_step(created: tuple[Path, Said]) -> None:
    lines = read_lines(created[1].err)
    assert assert_frames(lines, 0)["ok"]
    assert {("write", "boot"), ("read_back", "root")} <= list_steps(lines, "finished")


@pytest.mark.slow
def test_a_failure_in_the_middle_is_the_last_line_with_the_exit_code_and_the_sentence(
    guest: Machine, two: Release, server: HostileServer
) -> None:
    url = server.offer_folder("/2", two.directory)
    server.spoil("/2/root.img.zst", Behaviour.CUT)
    said = guest.abctl("upgrade", url, "--sha256", two.manifest_sha256, "--progress", "json")
    lines = read_lines(said.err)
    assert said.code == 42
    assert "root.img.zst" in assert_frames(lines, 42)["error"]
    assert list_steps(lines, "began")


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_refusal_before_the_first_step_is_told_as_well(
    guest: Machine, two: Release, options: tuple[str, ...]
) -> None:
    guest.booted = SlotName.B
    said = guest.upgrade(two, "--progress", "json", *options)
    lines = read_lines(said.err)
    assert "A is the primary" in assert_frames(lines, said.code)["error"]
    assert (said.code, len(lines)) == (21, 2)


def test_a_schema_refuses_every_line_with_a_field_missing_added_or_of_another_type(
    guest: Machine, archive: Archive
) -> None:
    said = guest.abctl("upgrade", archive.path, "--sha256", archive.sha256, "--progress", "json")
    validator = read_validator("progress")
    for line in read_lines(said.err):
        assert not [spoiled for spoiled in _spoil(line) if validator.is_valid(spoiled)]


@pytest.mark.parametrize("form", ["json", "plain", "live"])
def test_an_upgrade_goes_on_when_nobody_reads_its_progress_any_more(
    guest: Machine, two: Release, form: str
) -> None:
    command = guest.command("upgrade", two.directory, "--sha256", two.manifest_sha256, "--progress", form)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stderr=writer, stdout=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 0
    assert guest.abctl("status", "--json").json("status")["trial"]["version"] == "2"


@pytest.mark.parametrize("options", [("--quiet",), ("--progress", "none"), ("--json",)])
def test_an_upgrade_is_silent_where_that_is_wanted(
    guest: Machine, two: Release, options: tuple[str, ...]
) -> None:
    said = guest.upgrade(two, *options)
    assert (said.code, said.err) == (0, "")


def test_an_upgrade_on_a_terminal_shows_its_bars(guest: Machine, two: Release) -> None:
    command = guest.command("upgrade", two.directory, "--sha256", two.manifest_sha256)
    code, shown = watch_on_a_terminal(command)
    assert code == 0, shown
    assert re.search(r"reading back root +━+ +100 % +64 MiB", shown)
    assert max(len(line) for line in re.split(r"[\r\n]+", shown)) <= 80
