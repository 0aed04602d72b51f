"""Giving a host its identity: on a host made of files, whose programs play a part."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from abctl.cli.identity_apply import apply_identity
from abctl.cli.identity_host import Around, find_guest_mac, store_node_id
from abctl.cli.report_identity import AppliedReport
from abctl.core.macs import Family, Index, derive_mac
from abctl.errors import BadIdentity, ToolFailed, WriteFailed
from abctl.host.key_files import User
from abctl.host.layouts import read_layout
from abctl.host.settings_file import SettingsFile
from tests.fake_live import FakeHost
from tests.test_identity import LAN, add_card
from tests.test_identity_keys import ED25519

MACHINE_ID = "0123456789abcdef0123456789abcdef"
CARD = "52:54:00:00:00:01"


@dataclass
class Programs:
    """What systemctl, networkctl, udevadm and ipmitool do."""

    calls: list[str] = field(default_factory=list)
    fails: tuple[str, ...] = ("is-active",)

    def run(self, *command: str, **_: object) -> str:
        self.calls.append(" ".join(command))
        if any(word in self.calls[-1] for word in self.fails):
            raise ToolFailed(f"{command[0]} failed with exit code 3: no message")
        return LAN if command[0] == "ipmitool" else ""


@dataclass
class Machine:
    """A host in its first boot, with one network card and the users that an image has."""

    host: FakeHost
    programs: Programs = field(default_factory=Programs)
    users: dict[str, str] = field(
        default_factory=lambda: {name: f"/var/lib/{name}" for name in ("backup", "readonly", "admin")}
    )
    has_ipmi: bool = False

    @property
    def root(self) -> Path:
        return self.host.root

    @property
    def around(self) -> Around:
        return Around(self.host.paths, self.programs.run, self.find_user, has_ipmi=self.has_ipmi)

    @property
    def settings(self) -> SettingsFile:
        return SettingsFile(self.host.paths)

    def find_user(self, name: str) -> User | None:
        home = self.users.get(name)
        return User(name, os.getuid(), os.getgid(), home, "/bin/bash") if home else None

    def apply(self) -> AppliedReport:
        report, failure = apply_identity(self.around)
        assert (failure is None) == (report.failures == ())
        return report

    def read(self, path: str) -> str:
        return (self.root / path).read_text().strip()

    def write_keys(self, name: str, text: str) -> None:
        path = self.root / f"boot/config/ssh_authorized_keys/{name}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def keys_of(self, name: str) -> list[str]:
        path = self.root / f"var/lib/{name}/.ssh/authorized_keys"
        return [line for line in path.read_text().splitlines() if line[0] != "#"] if path.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    host = FakeHost(tmp_path, read_layout("hostos"))
    add_card(tmp_path, "eth0", "pci0000:00/0000:03:00.0", CARD)
    for folder in (
        "etc",
        "run",
        "proc/sys/kernel",
        *(f"var/lib/{name}" for name in ("backup", "readonly", "admin")),
    ):
        (tmp_path / folder).mkdir(parents=True, mode=0o755)
    (tmp_path / "etc/hostname").write_text("localhost\n")
    (tmp_path / "etc/machine-id").write_text(f"{MACHINE_ID}\n")
    (tmp_path / "proc/sys/kernel/hostname").write_text("localhost\n")
    return Machine(host)


# --- name -------------------------------------------------------------------------------------------


def test_a_first_boot_gives_the_name_and_keeps_what_it_was_made_of(machine: Machine) -> None:
    report = machine.apply()
    assert report.hostname == "host-525400000001"
    assert (
        machine.read("proc/sys/kernel/hostname") == machine.read("run/abctl/hostname") == "host-525400000001"
    )
    assert machine.settings.read().settings.found_mac == CARD
    assert "systemctl --no-block start etc-hostname.mount" in machine.programs.calls


def test_a_second_run_changes_nothing(machine: Machine) -> None:
    machine.settings.update({"deployment": "mainnet"})
    machine.write_keys("admin", ED25519)
    machine.apply()
    (machine.root / "etc/hostname").write_text(machine.read("run/abctl/hostname"))
    again = machine.apply()
    assert (again.changed, again.failures) == ((), ())


def test_the_other_slot_set_has_the_same_name_though_it_finds_other_hardware_first(machine: Machine) -> None:
    machine.apply()
    add_card(machine.root, "eth9", "pci0000:00/0000:01:00.0", "52:54:00:00:00:99")
    machine.has_ipmi = True
    assert machine.apply().hostname == "host-525400000001"


def test_the_management_controller_names_the_host_where_there_is_one(machine: Machine) -> None:
    machine.has_ipmi = True
    assert machine.apply().hostname == "host-3cecef6b3799"
    assert machine.settings.read().settings.found_mac == "3c:ec:ef:6b:37:99"


def test_a_controller_that_is_silent_once_names_the_host_at_the_next_boot(machine: Machine) -> None:
    machine.has_ipmi = True
    machine.programs.fails = ("ipmitool", "is-active")
    report = machine.apply()
    assert report.hostname == "host-525400000001"
    assert "the management controller did not tell its MAC address" in " ".join(report.warnings)
    machine.programs.fails = ("is-active",)
    assert machine.apply().hostname == "host-3cecef6b3799"


def test_a_node_id_that_comes_later_is_in_the_name_at_once(machine: Machine) -> None:
    machine.apply()
    number = (machine.root / "run/abctl/hostname").stat().st_ino
    store_node_id("4wd4u-rgdfr-aae", machine.around)
    assert machine.read("proc/sys/kernel/hostname") == "host-525400000001-4wd4u"
    # A bind mount on /etc/hostname shows this very file.
    assert (machine.root / "run/abctl/hostname").stat().st_ino == number
    assert machine.apply().hostname == "host-525400000001-4wd4u"


def test_a_shorter_name_leaves_nothing_of_the_longer_one(machine: Machine) -> None:
    machine.settings.update({"host_type": "boundary", "node_id": "4wd4u"})
    machine.apply()
    machine.settings.update({"host_type": None, "node_id": None})
    machine.apply()
    assert machine.read("run/abctl/hostname") == "host-525400000001"


@pytest.mark.parametrize("node_id", ["x", "4wd4u; reboot", "A" * 50, "4wd4u\n", "4wd4u-" + "a" * 5000])
def test_a_hostile_node_id_changes_nothing(machine: Machine, node_id: str) -> None:
    machine.apply()
    with pytest.raises(BadIdentity, match="is not a node-id"):
        store_node_id(node_id, machine.around)
    assert machine.settings.read().settings.node_id is None
    assert machine.read("proc/sys/kernel/hostname") == "host-525400000001"


def test_a_node_id_that_cannot_be_kept_changes_no_name(machine: Machine) -> None:
    machine.apply()
    machine.host.unmount("/boot/config")
    with pytest.raises(WriteFailed, match="is not mounted on /boot/config"):
        store_node_id("4wd4u-rgdfr", machine.around)
    assert machine.read("proc/sys/kernel/hostname") == "host-525400000001"


def test_a_program_that_may_not_set_the_name_has_systemd_do_it(machine: Machine) -> None:
    machine.apply()
    kernel = machine.root / "proc/sys/kernel/hostname"
    kernel.unlink()
    kernel.mkdir()  # as little to be written to as a file that is read-only
    store_node_id("4wd4u-rgdfr", machine.around)
    assert machine.settings.read().settings.node_id == "4wd4u-rgdfr"
    assert machine.programs.calls[-1] == "systemctl --no-block restart abctl-identity.service"


def test_a_name_that_cannot_be_set_fails_and_the_rest_is_done(machine: Machine) -> None:
    (machine.root / "run/abctl/hostname").mkdir(parents=True)
    machine.write_keys("admin", ED25519)
    report = machine.apply()
    assert report.failures[0].startswith("the hostname cannot be set to host-525400000001 (")
    assert report.failures[0].endswith("): Is a directory")
    assert machine.keys_of("admin") == [ED25519]


# --- the config volume ------------------------------------------------------------------------------


def test_without_the_config_volume_the_host_has_a_name_and_keeps_its_keys_and_network(
    machine: Machine,
) -> None:
    machine.settings.update({"deployment": "mainnet"})
    machine.write_keys("admin", ED25519)
    machine.apply()
    machine.host.unmount("/boot/config")
    report = machine.apply()
    assert (report.hostname, report.failures) == ("host-525400000001", ())
    assert report.warnings[0].startswith("the config volume is not mounted on /boot/config")
    assert machine.keys_of("admin") == [ED25519]
    assert len(list((machine.root / "run/systemd/network").iterdir())) == 3


def test_a_full_volume_is_a_warning_and_no_failure(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: SettingsFile, _changes: object) -> None:
        raise WriteFailed("settings.json cannot be written: No space left on device")

    monkeypatch.setattr(SettingsFile, "update", fail)
    report = machine.apply()
    assert (report.hostname, report.failures) == ("host-525400000001", ())
    assert "No space left on device" in report.warnings[-1]


def test_damaged_settings_stay_for_an_admin_and_the_network_as_it_is(machine: Machine) -> None:
    machine.settings.update({"deployment": "mainnet"})
    machine.apply()
    for path in (machine.root / "boot/config/abctl").iterdir():
        path.write_bytes(b"{")
    report = machine.apply()
    assert "cannot be used" in report.warnings[0]
    assert len(list((machine.root / "run/systemd/network").iterdir())) == 3
    assert machine.settings.path.read_bytes() == b"{"


# --- machine-id -------------------------------------------------------------------------------------


def test_the_machine_id_of_the_first_boot_is_that_of_all(machine: Machine) -> None:
    machine.apply()
    assert machine.read("boot/config/abctl/machine-id") == MACHINE_ID
    (machine.root / "etc/machine-id").write_text("f" * 32)
    machine.apply()
    assert machine.read("boot/config/abctl/machine-id") == MACHINE_ID


def test_a_damaged_machine_id_comes_back_from_the_settings(machine: Machine) -> None:
    machine.apply()
    (machine.root / "boot/config/abctl/machine-id").write_text("\0" * 33)
    (machine.root / "etc/machine-id").write_text("f" * 32)
    assert "both slot sets have this machine-id" in machine.apply().changed[-1]
    assert machine.read("boot/config/abctl/machine-id") == MACHINE_ID


@pytest.mark.parametrize("text", ["", "uninitialized\n", "0" * 32])
def test_a_system_without_a_machine_id_keeps_none(machine: Machine, text: str) -> None:
    (machine.root / "etc/machine-id").write_text(text)
    assert machine.apply().failures == ()
    assert not (machine.root / "boot/config/abctl/machine-id").exists()


# --- network ----------------------------------------------------------------------------------------


def test_a_deployment_brings_the_bridge_and_networkd_is_told_where_it_runs(machine: Machine) -> None:
    machine.apply()
    assert not (machine.root / "run/systemd/network").exists()
    machine.programs.fails = ()
    machine.settings.update({"deployment": "mainnet", "ipv6_prefix": "2602:ffe4:801:17"})
    machine.apply()
    mac = derive_mac(CARD, "mainnet", Family.IPV6, Index.HOST)
    assert f"MACAddress={mac}\n" in machine.read("run/systemd/network/70-abctl-bridge.netdev") + "\n"
    assert "networkctl reload" in machine.programs.calls
    assert f"PermanentMACAddress={CARD}" in machine.read("run/systemd/network/70-abctl-card.network")


def test_a_card_whose_address_was_set_by_a_program_stays_out_of_the_bridge(machine: Machine) -> None:
    machine.settings.update({"deployment": "mainnet", "management_mac": "3c:ec:ef:6b:37:99"})
    (machine.root / "sys/class/net/eth0/addr_assign_type").write_text("3\n")
    assert machine.apply().warnings == ("no network card was found for the bridge br6, so it stands alone",)


def test_the_guest_s_mac_is_there_for_who_starts_it(machine: Machine) -> None:
    with pytest.raises(BadIdentity, match=r"cannot be calculated: the deployment is not known"):
        find_guest_mac(around=machine.around)
    machine.settings.update({"deployment": "mainnet", "management_mac": "b0:7b:25:c8:f6:c0"})
    assert find_guest_mac(around=machine.around) == "6a:01:00:ec:bd:51"
    assert find_guest_mac(Family.IPV4, machine.around).startswith("4a:01:")


# --- keys -------------------------------------------------------------------------------------------

OTHER = ED25519.replace("LCbDn8", "LCbDn9")


def test_keys_come_and_go_with_their_sources(machine: Machine) -> None:
    machine.write_keys("admin", f"{ED25519} one\n{OTHER} two\n")
    machine.write_keys("backup", f"{ED25519} one\n")
    machine.apply()
    assert machine.keys_of("admin") == [f"{ED25519} one", f"{OTHER} two"]
    assert machine.keys_of("readonly") == []
    machine.write_keys("admin", f"{OTHER} two\n")
    (machine.root / "boot/config/ssh_authorized_keys/backup").unlink()
    report = machine.apply()
    assert (machine.keys_of("admin"), machine.keys_of("backup")) == ([f"{OTHER} two"], [])
    lost = [said for said in report.changed if "lost the key SHA256:" in said]
    assert [said.split()[1] for said in lost] == ["backup", "admin"]


def test_a_key_that_a_user_added_is_taken_away_again(machine: Machine) -> None:
    machine.write_keys("admin", ED25519)
    machine.apply()
    path = machine.root / "var/lib/admin/.ssh/authorized_keys"
    path.write_text(f"{ED25519}\n{OTHER} back door\n")
    report = machine.apply()
    assert machine.keys_of("admin") == [ED25519]
    assert "(back door)" in report.changed[-1]


def test_bad_lines_are_named_and_the_good_ones_count(machine: Machine) -> None:
    machine.write_keys("admin", f"nonsense\n{ED25519}\n")
    report = machine.apply()
    assert report.warnings[-1] == (
        "/boot/config/ssh_authorized_keys/admin, line 1: 'nonsense' is no kind of key and no option"
    )
    assert machine.keys_of("admin") == [ED25519]


def test_a_source_of_nothing_but_garbage_locks_nobody_out(machine: Machine) -> None:
    machine.write_keys("admin", ED25519)
    machine.apply()
    (machine.root / "boot/config/ssh_authorized_keys/admin").write_bytes(b"\x00\xff garbage")
    report = machine.apply()
    assert report.warnings[-1] == (
        "/boot/config/ssh_authorized_keys/admin holds no key that can be used: the keys of admin stay as "
        "they are"
    )
    assert (machine.keys_of("admin"), report.failures) == ([ED25519], ())


def change_home(machine: Machine) -> None:
    machine.users["admin"] = "/var/backups"


def remove_user(machine: Machine) -> None:
    del machine.users["admin"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (change_home, "the home of admin is /var/backups and not /var/lib/admin: its keys are not written"),
        (remove_user, "there is no user admin, so its keys are not written"),
    ],
)
def test_a_user_that_is_not_as_it_should_be_gets_no_keys(
    machine: Machine, spoil: Callable[[Machine], None], said: str
) -> None:
    spoil(machine)
    assert said not in machine.apply().warnings
    machine.write_keys("admin", ED25519)
    assert said in machine.apply().warnings


def test_a_home_that_cannot_be_written_fails_for_that_user_only(machine: Machine) -> None:
    machine.write_keys("admin", ED25519)
    machine.write_keys("backup", ED25519)
    (machine.root / "var/lib/backup").chmod(0o777)
    report = machine.apply()
    assert len(report.failures) == 1
    assert "so sshd takes no key there" in report.failures[0]
    assert machine.keys_of("admin") == [ED25519]
