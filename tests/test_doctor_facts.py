"""What single facts mean to the doctor, where no damage to a disk shows them."""

import pytest

from abctl.core.advice import Prompt
from abctl.core.bootenv import EnvFiles, read_boot_env
from abctl.core.doctor import Verdict, judge_grub_wrote
from abctl.core.doctor_disk import judge_watchdogs, make_lvcreate
from abctl.core.machine import Running
from abctl.core.slot import SlotName
from abctl.host.layouts import read_layout


def test_with_the_boot_environment_lost_nobody_knows_what_grub_wrote() -> None:
    files, prompt = EnvFiles(), Prompt()
    running = Running(SlotName.A, SlotName.A, SlotName.A, generation=7)
    finding = judge_grub_wrote(running, read_boot_env(files), files, prompt)
    assert (finding.verdict, finding.command) == (Verdict.UNKNOWN, None)
    assert "the boot environment is lost" in finding.sentence


def test_a_lost_volume_is_made_in_the_place_that_the_layout_gives_it() -> None:
    layout = read_layout("hostos")
    assert layout.volume_group is not None
    first, second = layout.volume_group.volumes[:2]
    assert second.start_extent == first.end_extent
    assert make_lvcreate(layout, second, "/dev/sda3") == (
        f"lvcreate -y -Zn -Wn -n {second.name} -l {second.extents} hostlvm "
        f"/dev/sda3:{second.start_extent}-{second.start_extent + second.extents - 1}"
    )


@pytest.mark.parametrize(
    ("names", "has_softdog", "verdict", "said"),
    [
        ((), False, Verdict.WARNING, "there is no watchdog"),
        ((), True, Verdict.OK, "a trial loads softdog"),
        (("Software Watchdog",), False, Verdict.OK, "needs a kernel that still runs"),
        (("iTCO_wdt", "Software Watchdog"), False, Verdict.OK, "iTCO_wdt"),
    ],
)
def test_a_device_is_the_watchdog_that_needs_no_kernel(
    names: tuple[str, ...], has_softdog: bool, verdict: Verdict, said: str
) -> None:
    finding = judge_watchdogs(names, has_softdog=has_softdog)
    assert finding.verdict is verdict
    assert said in finding.sentence
    if "iTCO_wdt" in names:
        assert "still runs" not in finding.sentence
