"""What abctl says of a host: the next power-on, the reasons, the verdict, and what an admin should do."""

import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from abctl.cli import cli
from abctl.cli.describe import describe_history, describe_rehearsal, describe_status
from abctl.cli.report import SlotSetRole, Verdict
from abctl.cli.verdict import Scene
from abctl.core.bootenv import BootEnv, EnvFiles, Outcome, SlotState, Trial, Why, read_boot_env
from abctl.core.events import Host
from abctl.core.grub import next_boot
from abctl.core.machine import Running
from abctl.core.record import Record
from abctl.core.slot import SlotName
from abctl.host.grub_emu import PoweredOn
from tests import stories
from tests.disks import make_image
from tests.states import all_states, boot_envs, files_of
from tests.stories import status_of
from tests.world import World

A, B = SlotName.A, SlotName.B


# --- the next power-on ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("story", "said"),
    [
        (
            stories.fresh,
            "the next power-on boots the primary A (1.0.0); nothing else can be booted, for B is empty",
        ),
        (
            stories.armed,
            "the next power-on tries slot set B (2.0.0) on trial, 3 attempts left; if its kernel "
            "cannot be loaded, "
            "A (1.0.0)",
        ),
        (
            stories.on_trial,
            "unless it is confirmed, the next power-on tries slot set B (2.0.0) again, 2 attempts "
            "left; if its "
            "kernel cannot be loaded, A (1.0.0)",
        ),
        (
            stories.on_last_attempt,
            "all 3 attempts of 2.0.0 in B are used up: unless it is confirmed, the next power-on "
            "boots the primary "
            "A (1.0.0); if its kernel cannot be loaded, B (2.0.0)",
        ),
        (
            stories.fell_back_unsettled,
            "all 3 attempts of 3.0.0 in A are used up: the next power-on boots the primary B "
            "(2.0.0); if its kernel "
            "cannot be loaded, A (3.0.0)",
        ),
        (
            stories.no_kernel_unsettled,
            "the kernel of 3.0.0 in A could not be loaded: the next power-on boots the primary B (2.0.0); "
            "if its kernel cannot be loaded, A (3.0.0)",
        ),
        (
            stories.confirmed,
            "the next power-on boots the primary B (2.0.0); if its kernel cannot be loaded, A (1.0.0)",
        ),
        (
            stories.lost,
            "no copy of the boot environment can be read: by its fixed rule GRUB boots slot set A "
            "(1.0.0); if its "
            "kernel cannot be loaded, B",
        ),
        (
            stories.older_system_first_boot,
            "the only attempt of slot set A is used up: unless it is confirmed, the next power-on "
            "boots the primary "
            "B; if its kernel cannot be loaded, A",
        ),
    ],
)
def test_the_sentence_about_the_next_power_on_is_exact(story: stories.Story, said: str) -> None:
    assert status_of(story()).next_boot.sentence == said


@pytest.mark.parametrize("env", all_states(), ids=str)
def test_the_sentence_names_what_grub_boots_first_and_what_it_boots_instead(env: BootEnv) -> None:
    files = files_of(env)
    boot = next_boot(files)
    for running in (Running(), Running.all_of(A), Running.all_of(B)):
        report = describe_status(Scene(Host(env, running), read_boot_env(files), files), layout="hostos")
        first = re.search(
            r"(?:slot set|the primary) ([AB])(?= (?:on trial|again)|,|;)", report.next_boot.sentence
        )
        assert first
        assert first[1] == boot.slot_set == report.next_boot.slot_set
        if boot.second:
            assert report.next_boot.sentence.endswith(f"if its kernel cannot be loaded, {boot.second}")
        else:
            assert report.next_boot.sentence.endswith(
                f"nothing else can be booted, for {boot.slot_set.other} is empty"
            )


# --- the verdict ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("story", "verdict", "headline"),
    [
        (
            stories.fresh,
            Verdict.OK,
            "slot set A (1.0.0) runs and is the primary; there is nothing to fall back to until the "
            "next upgrade",
        ),
        (
            stories.install_failed,
            Verdict.ATTENTION,
            "slot set A (1.0.0) runs and is the primary, but 2.0.0 was not installed in slot set B: "
            + stories.URL_REASON,
        ),
        (
            stories.armed,
            Verdict.TRIAL,
            "slot set B (2.0.0) is installed and waits to be tried; A (1.0.0) runs until then",
        ),
        (
            stories.on_trial,
            Verdict.TRIAL,
            "slot set B (2.0.0) runs on trial, boot 1 of 3, and is not kept yet",
        ),
        (stories.confirmed, Verdict.OK, "slot set B (2.0.0) runs and is the primary"),
        (
            stories.fell_back,
            Verdict.ATTENTION,
            "slot set B (2.0.0) runs and is the primary, but 3.0.0 in slot set A fell back: never "
            "confirmed: all 3 "
            "attempts are used up",
        ),
        (
            stories.no_kernel,
            Verdict.ATTENTION,
            "slot set B (2.0.0) runs and is the primary, but 3.0.0 in slot set A fell back: its "
            "kernel could not be "
            "loaded",
        ),
        (stories.rolled_back, Verdict.ATTENTION, "slot set B (2.0.0) runs, but A (1.0.0) is the primary"),
        (
            stories.both_bad,
            Verdict.DEGRADED,
            "the primary B (2.0.0) is bad, and the other slot set cannot replace it",
        ),
        (
            stories.mixed,
            Verdict.DEGRADED,
            "the kernel was started for slot set B, but the root file system is of B and /boot of A",
        ),
        (stories.lost, Verdict.DEGRADED, "the boot environment is lost: no copy of it can be read"),
        (
            stories.one_copy_torn,
            Verdict.ATTENTION,
            "a copy of the boot environment is no good: env1/grubenv is damaged: it was not written "
            "to its end",
        ),
        (
            stories.older_system,
            Verdict.OK,
            "slot set A runs and is the primary; its boot state is still the older system's",
        ),
    ],
)
def test_the_headline_says_how_the_host_is(story: stories.Story, verdict: Verdict, headline: str) -> None:
    report = status_of(story())
    assert (report.verdict, report.headline) == (verdict, headline)


# --- what to do -------------------------------------------------------------------------------------


@pytest.mark.parametrize("story", stories.STORIES)
@pytest.mark.parametrize("disk", [None, "/srv/my disks/host.img"])
def test_every_command_that_is_advised_is_a_command_that_abctl_takes(
    story: stories.Story, disk: str | None
) -> None:
    for advice in status_of(story(), disk).advice:
        if advice.command in (None, "systemctl reboot"):
            continue
        program, *arguments = shlex.split(advice.command)
        result = CliRunner().invoke(cli, [*arguments, "--help"])
        assert (program, result.exit_code) == ("abctl", 0), result.output


def test_commands_for_a_disk_name_it_so_that_a_shell_takes_them() -> None:
    report = status_of(stories.on_trial(), "/srv/my disks/host.img")
    assert report.advice[0].command == "abctl --disk '/srv/my disks/host.img' --booted B confirm"


@pytest.mark.parametrize(
    ("story", "change"),
    [
        (stories.on_trial, World.confirm),
        (stories.armed, World.power_on),
    ],
)
def test_following_the_first_advice_brings_the_host_on(story: stories.Story, change: object) -> None:
    world = story()
    before = status_of(world)
    assert before.advice[0].command == ("abctl confirm" if change is World.confirm else "systemctl reboot")
    assert callable(change)
    change(world)
    assert status_of(world).next_boot.sentence != before.next_boot.sentence


def test_settling_is_advised_until_it_is_done() -> None:
    world = stories.fell_back_unsettled()
    assert [item.command for item in status_of(world).advice] == ["abctl settle"]
    stories.settle(world)
    assert "abctl settle" not in [item.command for item in status_of(world).advice]


def test_from_a_mixed_system_nothing_but_a_reboot_is_advised() -> None:
    world = stories.on_trial()
    world.state = replace(world.state, running=Running(B, B, A, Why.TRIAL))
    assert [item.command for item in status_of(world).advice] == ["systemctl reboot"]
    assert status_of(world).booted is None


def test_no_installation_is_advised_from_a_slot_set_that_may_not_install() -> None:
    world = stories.gave_up_trial()
    assert [item.command for item in status_of(world).advice] == ["systemctl reboot"]


# --- the parts --------------------------------------------------------------------------------------


def test_roles_follow_the_host() -> None:
    report = status_of(stories.on_trial())
    assert report.slot_sets[A].roles == (SlotSetRole.PRIMARY,)
    assert report.slot_sets[B].roles == (SlotSetRole.BOOTED, SlotSetRole.TRIAL)
    assert report.trial
    assert (report.trial.slot_set, report.trial.version) == (B, "2.0.0")
    assert (report.trial.attempts_left, report.trial.attempts_max) == (2, 3)


def test_a_slot_set_that_is_being_written_holds_no_version() -> None:
    report = status_of(stories.installing())
    assert (report.slot_sets[B].version, report.slot_sets[B].state) == (None, SlotState.EMPTY)
    assert report.slot_sets[B].why == "installing 2.0.0 did not end"
    assert report.last_upgrade
    assert report.last_upgrade.version == "2.0.0"


@pytest.mark.parametrize(
    ("story", "outcome", "said"),
    [
        (stories.confirmed, Outcome.CONFIRMED, "2.0.0 in slot set B was confirmed"),
        (
            stories.fell_back,
            Outcome.FELL_BACK,
            "3.0.0 in slot set A fell back: never confirmed: all 3 attempts are used up",
        ),
        (stories.rolled_back, Outcome.ROLLED_BACK, "the host was rolled back to 1.0.0 in slot set A"),
        (stories.gave_up_trial, Outcome.ROLLED_BACK, "2.0.0 in slot set B was given up by an admin"),
        (
            stories.called_off,
            Outcome.CALLED_OFF,
            "the trial of 2.0.0 in slot set B was called off by an admin",
        ),
    ],
)
def test_the_last_upgrade_says_what_it_came_to(story: stories.Story, outcome: Outcome, said: str) -> None:
    last = status_of(story()).last_upgrade
    assert last
    assert (last.outcome, last.sentence) == (outcome, said)


@pytest.mark.parametrize("story", stories.STORIES)
def test_a_lost_record_costs_reasons_and_nothing_else(story: stories.Story) -> None:
    world = story()
    before = status_of(world)
    world.state = replace(world.state, record=Record())
    after = status_of(world)
    assert after.next_boot == before.next_boot
    assert {item.version for item in after.refused} >= {
        item.version
        for item in before.refused
        if item.version in [held.version for held in before.slot_sets.values() if held.state is SlotState.BAD]
    }


def test_refusals_say_why_and_since_when() -> None:
    [refused] = status_of(stories.marked_bad()).refused
    assert (refused.version, refused.reason) == ("1.0.0", "network card dies after an hour")
    assert refused.at == "2026-11-18T11:06:40Z"


@given(boot_envs(), st.sampled_from([None, A, B]), st.sampled_from([None, *Why]))
def test_every_host_can_be_described(env: BootEnv, booted: SlotName | None, why: Why | None) -> None:
    files = files_of(env)
    running = Running.all_of(booted, why)
    report = describe_status(Scene(Host(env, running), read_boot_env(files), files), layout="hostos")
    assert report.next_boot.slot_set is next_boot(files).slot_set


# --- history ----------------------------------------------------------------------------------------


def test_history_tells_everything_in_order_and_adds_up_what_was_written() -> None:
    world = stories.fell_back()
    report = describe_history(stories.host_of(world))
    assert [entry.sentence for entry in report.entries] == [
        "the disk was made with 1.0.0 in slot set A",
        "2.0.0 was installed in slot set B",
        "2.0.0 in slot set B was confirmed",
        "3.0.0 was installed in slot set A",
        "3.0.0 in slot set A fell back: never confirmed: all 3 attempts are used up",
    ]
    assert report.entries[0].at == "2026-11-18T11:06:40Z"
    assert (report.installs, report.written) == (2, sum(entry.written or 0 for entry in report.entries))
    newest = describe_history(stories.host_of(world), last=2).entries
    assert newest == report.entries[-2:]


# --- rehearsal --------------------------------------------------------------------------------------


def power_on(files: EnvFiles) -> PoweredOn:
    boot = next_boot(files)
    return PoweredOn(
        booted=boot.slot_set,
        chosen=boot.slot_set,
        second=boot.second,
        why=boot.why,
        passed_over=None,
        origin=boot.origin,
        attempts=boot.attempts,
        attempts_left=None,
        generation=None,
        command_line="",
        files=boot.files,
    )


def test_a_rehearsal_tells_each_power_on_and_where_it_ends() -> None:
    files, boots = stories.armed().state.files, []
    for _ in range(4):
        boots.append(power_on(files))
        files = boots[-1].files
    report = describe_rehearsal(stories.host_of(stories.armed()).env, boots)
    assert [boot.sentence for boot in report.boots] == [
        "boots slot set B (2.0.0) on trial, 2 attempts left",
        "boots slot set B (2.0.0) on trial, 1 attempt left",
        "boots slot set B (2.0.0) on trial, no attempt left",
        "boots slot set A (1.0.0), the primary, for the attempts are used up",
    ]
    assert report.settles_on is A
    assert report.sentence == "if nobody confirms, GRUB goes back to slot set A (1.0.0) after 3 trial boots"


def test_a_rehearsal_that_is_too_short_says_so() -> None:
    report = describe_rehearsal(stories.host_of(stories.armed()).env, [power_on(stories.armed().state.files)])
    assert (report.settles_on, report.sentence) == (None, "after 1 power-on the trial is not over yet")


def test_a_rehearsal_says_when_no_kernel_can_be_loaded() -> None:
    boot = replace(power_on(stories.fresh().state.files), booted=None, why=Why.NO_KERNEL)
    report = describe_rehearsal(stories.host_of(stories.fresh()).env, [boot])
    assert report.boots[0].sentence == "no slot set can be booted: GRUB waits, and starts again"
    assert report.settles_on is None


def test_a_trial_that_is_over_says_why() -> None:
    env = BootEnv(A, Trial(B, 0))
    files = files_of(env)
    scene = Scene(Host(env, Running.all_of(A)), read_boot_env(files), files)
    report = describe_status(scene, layout="hostos")
    assert report.trial
    assert report.trial.ended == "never confirmed: all 3 attempts are used up"


# --- what it costs ----------------------------------------------------------------------------------

STATUS_ALONE = """
import sys
from abctl.cli import cli
cli.main(["--disk", sys.argv[1], "status", *sys.argv[2:]], standalone_mode=False)
print(sorted({"pydantic", "rich", "requests", "cryptography"} & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_status_loads_nothing_that_is_slow_to_load(tmp_path: Path, options: list[str]) -> None:
    image = make_image(tmp_path / "guest.img", "guestos-small")
    command = [sys.executable, "-c", STATUS_ALONE, str(image), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "boots the primary A" in done.stdout
    assert done.stderr == "[]\n"
