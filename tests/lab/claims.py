"""What scenarios claim of a host: what an admin would see on it."""

from collections.abc import Sequence

from abctl.core.slot import SlotName
from tests.lab.machine import Machine
from tests.lab.variants import FIRST, VERSION_FILE


def version_of(host: Machine) -> str:
    """The version that runs, as its own file says it."""
    return host.run(f"cat {VERSION_FILE}").check().out.strip()


def assert_whole(host: Machine, slot_set: str, version: str, failed_units: str = "") -> None:
    """The running system is complete, all of one slot set, and no unit failed but those that are named."""
    host.settle()
    assert version_of(host) == version
    mounts = host.run("findmnt -rno TARGET,SOURCE,FSTYPE,OPTIONS").check().out.splitlines()
    found = {line.split()[0]: line.split()[1:] for line in mounts}
    for point, part in (("/", "root"), ("/boot", "boot"), ("/var", "var")):
        assert found[point][0] == f"/dev/mapper/hostlvm-{slot_set}_{part}", found
    assert "ro" in found["/"][2].split(",")
    assert found["/var"][1] == "ext4"
    assert {found["/boot/grub"][1], found["/boot/efi"][1], found["/boot/config"][1]} == {"vfat", "ext4"}
    failed = host.run("systemctl --failed --no-legend --plain").out
    assert " ".join(line.split()[0] for line in failed.splitlines()) == failed_units, failed


def assert_fell_back(
    host: Machine, version: str, stages: Sequence[str], *words: str, slot_set: str = "A", to: str = FIRST
) -> None:
    """An admin sees what runs again, that the version is refused, how far it got, and why."""
    assert_whole(host, slot_set, to)
    status = host.status()
    assert status["booted"] == slot_set
    assert status["primary"] == slot_set
    assert status["trial"] is None
    assert status["slot_sets"][SlotName(slot_set).other]["state"] == "bad"
    assert [refusal["version"] for refusal in status["refused"]] == [version]
    assert status["last_upgrade"]["outcome"] == "fell_back"
    told = " ".join((status["last_upgrade"]["sentence"], *(item["reason"] for item in status["refused"])))
    story = status["last_trial"]
    assert [boot["stage"] for boot in story["boots"]] == list(stages), story
    told += story["sentence"]
    for word in words:
        assert word in told, told
    assert "fell_back" in host.history()
    assert host.run("cat /run/motd.d/50-abctl").out, "the login message says nothing"
