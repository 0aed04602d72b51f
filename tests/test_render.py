"""Reports as text: they fit the screen, say the most important first, and need no colour."""

import io
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from abctl.cli.describe import describe_history, describe_rehearsal
from abctl.cli.describe_disk import describe_check
from abctl.cli.describe_upgrade import describe_install, describe_plan, describe_refused_plan
from abctl.cli.render import (
    render_check,
    render_created,
    render_history,
    render_install,
    render_plan,
    render_rehearsal,
    render_status,
)
from abctl.cli.report_disk import CreateReport
from abctl.cli.style import Style, sentence
from abctl.core.compare import Difference, Severity
from abctl.core.plan import ImagePlan, InstallPlan
from abctl.core.release import Compression
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import GIB, MIB, Bytes, Digest, Version
from abctl.errors import VersionRefused
from abctl.update.install import Installed
from tests import stories
from tests.stories import host_of, status_of

COLOUR_CODE = re.compile(r"\x1b\[[0-9;]*m")
SHA256 = Digest("4f" * 32)
PLAIN = Style()


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


# --- status -----------------------------------------------------------------------------------------


def test_status_says_first_how_the_host_is_then_what_comes_next_then_what_to_do() -> None:
    assert render_status(status_of(stories.on_trial()), PLAIN).splitlines()[:9] == [
        "ON TRIAL   Slot set B (2.0.0) runs on trial, boot 1 of 3, and is not kept yet.",
        "",
        "Next boot  Unless it is confirmed, the next power-on tries slot set B (2.0.0)",
        "           again, 2 attempts left; if its kernel cannot be loaded, A (1.0.0).",
        "",
        "To do      If this system works, keep it:  abctl confirm",
        "           If it does not, go back:        abctl rollback --reboot",
        "",
        "Slot sets    A 1.0.0  good      primary",
    ]


@pytest.mark.parametrize("story", [item for item in stories.STORIES if item is not stories.longest])
def test_status_fits_on_one_screen(story: stories.Story) -> None:
    lines = render_status(status_of(story()), PLAIN).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("story", stories.STORIES)
@pytest.mark.parametrize("width", [60, 80, 140])
def test_lines_are_longer_than_the_screen_only_where_a_word_or_a_command_is(
    story: stories.Story, width: int
) -> None:
    report = status_of(story())
    for line in render_status(report, Style(width=width)).splitlines():
        command = any(line.strip() == item.command for item in report.advice)
        assert len(line) <= width or command or max(map(len, line.split())) > width - 20


@pytest.mark.parametrize("story", stories.STORIES)
def test_colour_says_nothing_that_words_do_not(story: stories.Story) -> None:
    report = status_of(story())
    coloured = render_status(report, Style(colour=True))
    assert coloured != COLOUR_CODE.sub("", coloured) == render_status(report, PLAIN)


def test_a_long_version_pushes_nothing_aside() -> None:
    lines = render_status(status_of(stories.longest()), PLAIN).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Slot sets"))
    assert lines[start].endswith("a" * 64)
    assert lines[start + 1].strip() == "good      booted, primary"


@pytest.mark.parametrize(
    ("environ", "colour"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(environ: Mapping[str, str], colour: bool) -> None:
    assert Style.of(Terminal(), environ).colour is colour
    assert not Style.of(io.StringIO(), environ).colour


def test_a_stream_that_is_not_utf_8_gets_ascii() -> None:
    assert not Style.of(io.TextIOWrapper(io.BytesIO(), "ascii"), {}).unicode
    assert Style.of(io.TextIOWrapper(io.BytesIO(), "utf-8"), {}).unicode


def test_a_sentence_keeps_the_case_of_a_path() -> None:
    assert sentence("env1/grubenv is damaged") == "env1/grubenv is damaged."
    assert sentence("what is it?") == "What is it?"


# --- the others -------------------------------------------------------------------------------------


def test_a_plan_is_a_table_of_what_is_fetched_and_written() -> None:
    plan = InstallPlan(
        target=SlotName.B,
        version=Version("2.0.0"),
        sha256=SHA256,
        images=(
            ImagePlan(
                Slot(SlotName.B, Part.BOOT),
                "boot.img.zst",
                Compression.ZSTD,
                Bytes(85 * MIB),
                Bytes(GIB),
                Bytes(GIB),
            ),
            ImagePlan(
                Slot(SlotName.B, Part.ROOT),
                "root.img",
                Compression.NONE,
                Bytes(4 * GIB),
                Bytes(4 * GIB),
                Bytes(10 * GIB),
            ),
        ),
        download_size=Bytes(4 * GIB + 85 * MIB),
        overwritten=Version("0.9.0"),
        notes=("slot set A already holds 2.0.0",),
    )
    report = describe_plan(plan, source="https://releases.example/2.0.0/")
    assert render_plan(report, PLAIN).splitlines() == [
        "PLAN       Install 2.0.0 in slot set B.",
        "           0.9.0 in slot set B would be overwritten.",
        "",
        "Slot    fetched  written      of  file",
        "B_boot   85 MiB    1 GiB   1 GiB  boot.img.zst (zstd)",
        "B_root    4 GiB    4 GiB  10 GiB  root.img",
        "in all  4.1 GiB",
        "",
        "Source     https://releases.example/2.0.0/",
        "Note       Slot set A already holds 2.0.0.",
        f"SHA-256    {SHA256}",
        "Steps      1. Make slot set B unbootable, in the boot environment and on the",
        "           disk.",
        "           2. Fetch 2.0.0 (4.1 GiB) from the source, compare its SHA-256, and",
        "           write it.",
        "           3. Read every byte back from the disk and compare it.",
        "           4. Put slot set B on trial, by one write of the boot environment.",
        "",
        "This is a dry run: nothing was written.",
    ]


def test_a_refused_plan_gives_the_reason_and_the_exit_code() -> None:
    report = describe_refused_plan(VersionRefused("3.0.0 is refused here: it fell back"), source="./3.0.0")
    assert render_plan(report, PLAIN).splitlines() == [
        "REFUSED    3.0.0 is refused here: it fell back.",
        "           Nothing was written. Without --dry-run the exit code is 22.",
    ]


def test_an_installation_says_what_it_cost_and_what_comes_next() -> None:
    world = stories.armed()
    installed = Installed(
        target=SlotName.B,
        version=Version("2.0.0"),
        sha256=SHA256,
        downloaded=488 * MIB,
        written=1548 * MIB,
        took=2.54,
        steps={},
    )
    report = describe_install(installed, host_of(world), world.state.files, source="./2.0.0", rebooting=False)
    assert render_install(report, PLAIN).splitlines() == [
        "INSTALLED  2.0.0 is in slot set B: 488 MiB fetched, 1.5 GiB written in 2.5 s,",
        "           all read back.",
        "Next boot  The next power-on tries slot set B (2.0.0) on trial, 3 attempts left;",
        "           if its kernel cannot be loaded, A (1.0.0).",
        "           Reboot to try it.",
    ]
    assert render_install(replace(report, disk="host.img"), PLAIN).endswith("Power it on to try it.")


def test_history_is_a_line_for_each_thing_that_happened() -> None:
    lines = render_history(describe_history(host_of(stories.marked_bad())), PLAIN).splitlines()
    assert lines[0] == "2026-11-18 11:06 UTC  The disk was made with 1.0.0 in slot set A."
    assert lines[-4] == "                      after an hour."
    assert lines[-2:] == [
        "1 installation, 0 B written.",
        "Refused    1.0.0: network card dies after an hour (since 2026-11-18 11:06 UTC)",
    ]


def test_an_empty_history_says_so() -> None:
    assert render_history(describe_history(host_of(stories.lost())), PLAIN) == "Nothing is recorded yet."


def test_a_rehearsal_without_boots_is_told_as_one() -> None:
    text = render_rehearsal(describe_rehearsal(host_of(stories.armed()).env, []), PLAIN)
    assert text.splitlines()[0] == "Power-on"


def test_a_check_names_each_difference_on_its_own_line() -> None:
    differences = (
        Difference("grub", "partition grub has 8 MiB, not 16 MiB"),
        Difference("disk", "the backup GPT is damaged", Severity.REMARK),
    )
    assert render_check(describe_check("host.img", "hostos", differences), PLAIN).splitlines() == [
        "DIFFERENT  host.img differs from the layout hostos in 1 thing:",
        "           - Partition grub has 8 MiB, not 16 MiB.",
        "Remark     The backup GPT is damaged.",
    ]
    assert render_check(describe_check("host.img", "hostos", differences[1:]), PLAIN).splitlines() == [
        "SAME       host.img has the layout hostos.",
        "Remark     The backup GPT is damaged.",
    ]


def test_a_new_disk_says_what_it_is_and_what_it_costs() -> None:
    report = CreateReport(
        disk="host.img",
        layout="hostos",
        size=110 * GIB,
        used=312 * MIB,
        version="1.0.0",
        sha256=SHA256,
        took=1.5,
    )
    assert render_created(report, PLAIN).splitlines() == [
        "CREATED    host.img: layout hostos, 110 GiB, of which 312 MiB are used; 1.0.0 is",
        "           in slot set A and is the primary.",
    ]
