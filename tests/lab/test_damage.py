"""Disks that are not as they should be: the host boots, says what is wrong, and mends what it can."""

import pytest

from abctl.core.bootenv import Copy
from abctl.core.bootstate import Why
from abctl.core.envblock import make_block
from abctl.core.layout import Role
from tests.lab.claims import assert_whole
from tests.lab.conftest import Lab
from tests.lab.damage import destroy_copies, places_of_copies
from tests.lab.fat import copy_to, read_from, remove_from
from tests.lab.qemu import Hardware
from tests.lab.variants import FIRST, GOOD

pytestmark = pytest.mark.timeout(2400)


def test_one_copy_of_the_boot_environment_destroyed(lab: Lab) -> None:
    """The other copy knows of the trial, and the trial mends the lost one."""
    host = lab.host(GOOD)
    destroy_copies(host.disk, Copy.FIRST)
    assert host.boot().slot_set == "B"
    host.wait_confirmed("B")
    assert_whole(host, "B", GOOD.version)
    status = host.status()
    assert status["boot_env"]["in_step"]
    assert status["damage"] == []


def test_both_copies_destroyed(lab: Lab) -> None:
    """The older system's file still knows the primary; the trial is forgotten, and that is said."""
    host = lab.host(GOOD)
    destroy_copies(host.disk, Copy.FIRST, Copy.SECOND)
    word = host.boot()
    assert (word.slot_set, word.why) == ("A", Why.PRIMARY)
    assert_whole(host, "A", FIRST)
    status = host.status()
    assert status["booted"] == "A"
    assert status["boot_env"]["in_step"], "nobody mended them"


def test_grub_partition_that_cannot_be_written(lab: Lab) -> None:
    """GRUB cannot spend the attempt, so it does not boot the trial: it would try it for ever."""
    disk = lab.make_disk(GOOD)
    host = lab.host(disk=disk, hardware=Hardware(broken=places_of_copies(disk)))
    word = host.boot()
    assert (word.slot_set, word.why) == ("A", Why.UNSAVED)
    assert_whole(host, "A", FIRST, failed_units="abctl-settle.service")
    status = host.status()
    assert status["booted_why"] == "unsaved"
    assert status["verdict"] != "ok"


def test_grub_partition_mounted_read_only(lab: Lab) -> None:
    """The upgrade refuses before it touches slot set B."""
    host = lab.host(server=lab.serve())
    host.boot()
    host.settle()
    before = host.boot_env()
    host.run("mount -o remount,ro /boot/grub").check()
    done = host.abctl(f"upgrade {GOOD.version} --no-reboot --quiet")
    assert done.code != 0
    assert "Read-only file system" in done.err, done.err
    assert "Traceback" not in done.err
    assert host.boot_env() == before
    host.run("mount -o remount,rw /boot/grub").check()
    host.abctl(f"upgrade {GOOD.version} --no-reboot --quiet").check()


def test_volume_of_slot_set_b_gone(lab: Lab) -> None:
    host = lab.host(server=lab.serve())
    host.boot()
    host.settle()
    # Root is read-only, so there is no place for LVM's own backups.
    host.run("lvremove -y --config 'backup{backup=0 archive=0}' hostlvm/B_root").check()
    status = host.abctl("status --json")
    assert "Traceback" not in status.err, status.err
    done = host.abctl(f"upgrade {GOOD.version} --no-reboot --quiet")
    assert done.code != 0
    assert "B_root" in done.err, done.err
    assert "Traceback" not in done.err
    host.shut_down()
    word = host.boot()
    assert (word.slot_set, word.why) == ("A", Why.PRIMARY)
    host.settle()
    assert host.run("systemctl --failed --no-legend --plain").out == ""


# Boots as the older system's script does; the rest of that script has no part in this.
_OLDER_GRUB_CFG = """
set boot_alternative=
load_env -f $prefix/grubenv boot_alternative
if [ "$boot_alternative" = B ]; then set slot=B; else set slot=A; fi
linux (lvm/hostlvm-${slot}_boot)/vmlinuz root=/dev/mapper/hostlvm-${slot}_root ro console=ttyS0 \
dfinity.system=$slot
initrd (lvm/hostlvm-${slot}_boot)/initrd.img
boot
"""


def test_host_of_the_older_system(lab: Lab) -> None:
    disk = lab.make_disk()
    ours = read_from(disk, Role.GRUB, "grub.cfg")
    remove_from(disk, Role.GRUB, Copy.FIRST, Copy.SECOND, "state.cfg", "select.cfg", "slots.cfg")
    copy_to(disk, Role.GRUB, "grub.cfg", _OLDER_GRUB_CFG.encode())
    older = make_block({"boot_alternative": "A", "boot_cycle": "stable"}, 1024)
    copy_to(disk, Role.GRUB, "grubenv", older)
    host = lab.host(disk=disk, server=lab.serve())
    word = host.boot()
    assert (word.slot_set, word.why) == ("A", None)
    host.settle()
    done = host.abctl(f"upgrade {GOOD.version} --no-reboot --quiet")
    assert done.code == 18, done
    assert "abctl adopt" in done.err
    host.abctl("adopt").check()
    assert host.run("cat /boot/grub/grub.cfg").out.encode() == ours
    host.abctl(f"upgrade {GOOD.version} --no-reboot --quiet").check()
    host.start_command("systemctl reboot")
    word = host.wait_up()
    assert (word.slot_set, word.why) == ("B", Why.TRIAL)
    host.wait_confirmed("B")
    assert_whole(host, "B", GOOD.version)
