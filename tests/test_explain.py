"""What abctl explain says: it foresees what GRUB does, and answers as the commands themselves would."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from abctl.cli.describe import describe_status
from abctl.cli.describe_explain import say_how_it_came
from abctl.cli.render_explain import render_explanation
from abctl.cli.report import Verdict
from abctl.cli.standing import look_into_slot_sets
from abctl.cli.style import Style
from abctl.cli.verdict import Scene
from abctl.cli.wiring import Machine
from abctl.core import trust_state
from abctl.core.advice import Prompt
from abctl.core.bootenv import BootEnv, EnvFiles, Why, read_boot_env
from abctl.core.contents import Contents
from abctl.core.events import Confirm, Event, Host, InstallStarted, RollBack, Running
from abctl.core.grub import answer
from abctl.core.outlook import ask, foresee
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import Digest
from abctl.errors import AbctlError
from abctl.host.layouts import read_layout
from abctl.host.live import LiveConfigFile, LiveSlots
from abctl.host.scripts import LiveGrubFiles
from abctl.update.memory import ConfigTrust
from abctl.update.operate import apply
from tests import stories
from tests.explanations import explain
from tests.fake_live import FakeHost
from tests.grubs import predict
from tests.states import all_states, counted_states, files_of
from tests.stories import NOW, host_of
from tests.test_schemas import read_validator

A, B = SlotName.A, SlotName.B
KERNELS = [dict(zip(SlotName, there, strict=True)) for there in product((True, False), repeat=2)]


# --- what comes next --------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", KERNELS, ids=str)
def test_what_is_foreseen_is_what_grub_does_power_on_after_power_on(kernels: dict[SlotName, bool]) -> None:
    """``predict`` is held to the real GRUB by the enumeration; here both have to walk the same way."""
    for env in (*all_states()[::5], *counted_states()[::5]):
        files = files_of(env)
        for seen in foresee(files, kernels, power_ons=5):
            boot = predict(files, kernels)
            # Where nothing boots, GRUB goes on with its first choice.
            assert (seen.booted, seen.chosen, seen.second) == (boot.booted, boot.chosen, boot.second), env
            assert seen.why is boot.why
            came_up = boot.booted and boot.why in (Why.PRIMARY, Why.FALLBACK)
            files = answer(boot.files) if came_up else boot.files


def test_a_trial_that_nobody_confirms_is_told_to_its_end() -> None:
    assert (
        explain(stories.armed()).later
        == "if nobody confirms, GRUB goes back to slot set A (1.0.0) after 3 trial boots"
    )
    assert explain(stories.confirmed()).later == "every power-on boots slot set B (2.0.0)"


def test_a_first_choice_without_a_kernel_is_told_with_what_starts_instead() -> None:
    world = stories.confirmed()
    gone = {A: Contents(has_kernel=True), B: Contents(has_kernel=False)}
    report = explain(world, gone)
    assert report.verdict is Verdict.DEGRADED
    assert (
        "the primary B (2.0.0) holds no kernel that GRUB can load, so GRUB boots A (1.0.0)" in report.headline
    )
    assert report.next_boot.sentence.endswith("; B holds no kernel, so it is A (1.0.0) that starts")
    assert report.later == "every power-on boots slot set A (1.0.0)"
    nothing = explain(world, dict.fromkeys(SlotName, Contents(has_kernel=False)))
    assert nothing.next_boot.sentence.endswith("; B holds no kernel, so nothing starts")
    assert "does not come up by itself" in nothing.later


# --- what commands would do -------------------------------------------------------------------------

WORDS: dict[str, Event] = {
    "upgrade": InstallStarted(NOW, None, Digest("0" * 64)),
    "confirm": Confirm(NOW),
    "rollback": RollBack(NOW),
}


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("story", stories.STORIES)
def test_an_answer_is_what_the_command_itself_would_say(story: stories.Story, word: str) -> None:
    (said,) = [item for item in ask(host_of(story()), NOW) if item.word == word]
    world = story()
    refused = None
    try:
        apply(world.ports, WORDS[word])
    except AbctlError as error:
        refused = error
    assert (type(said.refusal), str(said.refusal)) == (type(refused), str(refused))
    if said.after is not None:
        done = host_of(world)
        assert (said.after.env.primary, said.after.env.trial) == (done.env.primary, done.env.trial)
        assert said.after.env.slot_sets == done.env.slot_sets
        refusals = [{item.version for item in after.record.refusals} for after in (said.after, done)]
        assert refusals[0] == refusals[1]


def test_asking_changes_nothing() -> None:
    for story in stories.STORIES:
        world = story()
        before = world.state
        explain(world)
        assert world.state == before


@pytest.mark.parametrize(
    ("story", "word", "said"),
    [
        (
            stories.fresh,
            "upgrade",
            "a release is written into slot set B and gets 3 attempts on trial; A (1.0.0) stays the way back",
        ),
        (stories.fresh, "confirm", "nothing is on trial: slot set A is the primary already"),
        (
            stories.confirmed,
            "rollback",
            "slot set A (1.0.0) becomes the primary again, and 2.0.0 is refused from then on",
        ),
        (
            stories.confirmed,
            "upgrade",
            "a release is written into slot set A over 1.0.0 and gets 3 attempts on trial; B (2.0.0) stays "
            "the way back",
        ),
        (stories.on_trial, "confirm", "slot set B (2.0.0) becomes the primary: every power-on boots it"),
        (
            stories.on_trial,
            "rollback",
            "the trial of slot set B (2.0.0) is given up, and 2.0.0 is refused from then on; the primary A "
            "(1.0.0) is what the next power-on boots",
        ),
        (
            stories.armed,
            "rollback",
            "the trial of slot set B (2.0.0) is called off before it starts; the primary A (1.0.0) is what "
            "the next power-on boots",
        ),
    ],
)
def test_the_answers_are_exact(story: stories.Story, word: str, said: str) -> None:
    (found,) = [item for item in explain(story()).answers if item.word == word]
    assert found.sentence == said
    assert found.command == f"abctl {word}"
    assert found.allowed is (found.exit_code == 0)


# --- how it came to run -----------------------------------------------------------------------------


def test_what_runs_is_told_with_its_reason_and_its_past() -> None:
    said = list(say_how_it_came(host_of(stories.on_trial())))
    assert said[0] == "slot set B (2.0.0) runs"
    assert said[1] == "GRUB booted it on trial"
    assert said[2].startswith("2.0.0 was installed in slot set B (")
    assert list(say_how_it_came(host_of(stories.mixed()))) == [host_of(stories.mixed()).running.disagreement]
    off = list(say_how_it_came(host_of(stories.armed_and_off())))
    assert off[0].startswith("nothing runs from this disk")


@pytest.mark.parametrize("why", Why)
def test_each_reason_of_grub_has_a_sentence(why: Why) -> None:
    host = Host(BootEnv(A), Running(A, A, A, why, passed_over=B, generation=1))
    assert list(say_how_it_came(host))[1].startswith("GRUB booted it ")


# --- how it looks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("story", stories.STORIES)
def test_an_explanation_fits_the_terminal_and_its_schema(story: stories.Story) -> None:
    for disk in (None, "/srv/hosts/a host.img"):
        report = explain(story(), prompt=Prompt(disk, config="etc"))
        read_validator("explain").validate(json.loads(report.to_json()))
        text = render_explanation(report, Style())
        for item in report.advice:
            assert item.command is None or item.command in text
        prose = [line for line in text.splitlines() if "abctl --disk" not in line and "'" not in line]
        assert max(map(len, prose)) <= 80 or story is stories.longest


def test_commands_are_typed_as_the_user_named_the_disk() -> None:
    report = explain(stories.armed(), prompt=Prompt("my disk.img", A, "hostos", "etc"))
    start = "abctl --disk 'my disk.img' --booted A --layout hostos --config etc "
    assert [item.command for item in report.answers] == [start + word for word in WORDS]
    assert all(item.command is None or item.command.startswith(start) for item in report.advice)


def test_reading_says_the_same_as_status() -> None:
    for story in stories.STORIES:
        world = story()
        status, report = stories.status_of(world), explain(world)
        assert (report.headline, report.next_boot) == (status.headline, status.next_boot)
        assert read_boot_env(world.state.files).damage == status.damage or not report.warnings


# --- what the boot environment does not tell --------------------------------------------------------


def test_an_empty_slot_set_whose_volume_is_gone_is_not_all_right(tmp_path: Path) -> None:
    """Nothing boots from it, but the next upgrade would fail."""
    host, world = FakeHost(tmp_path, read_layout("hostos")), stories.fresh()
    trust = ConfigTrust(LiveConfigFile(trust_state.PATH, trust_state.FORM.file_size, host.paths))
    ports = replace(world.ports, slots=LiveSlots(host.layout, host.paths))
    machine = Machine(ports, host.layout, lambda _: True, lambda: LiveGrubFiles(tmp_path), trust)
    assert explain(world, look_into_slot_sets(machine)).verdict is Verdict.OK
    host.node_of(Slot(B, Part.ROOT)).unlink()
    report = explain(world, look_into_slot_sets(machine))
    assert report.verdict is Verdict.ATTENTION
    assert "slot B_root is not there" in report.headline
    assert report.advice[0].command == "abctl doctor"


def test_scripts_that_are_lost_are_not_taken_for_those_of_the_older_system() -> None:
    world = stories.fresh()
    files = world.state.files
    for kept, lost, verdict in (
        (files, ("grub.cfg",), Verdict.DEGRADED),
        (files, (), Verdict.OK),
        (EnvFiles(older=files.older), ("grub.cfg", "state.cfg"), Verdict.OK),
        (EnvFiles(older=files.older), (), Verdict.ATTENTION),
    ):
        host = Host(BootEnv(A), Running.all_of(A))
        scene = Scene(host, read_boot_env(kept), kept, lost_scripts=lost)
        report = describe_status(scene, layout="hostos")
        assert report.verdict is verdict
