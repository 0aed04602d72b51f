"""The machine-id in the initramfs, the users of an image, and a host's identity in namespaces of its own."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from abctl.core.macs import Index, parse_mac, parse_prefix
from abctl.core.settings import Settings
from abctl.host.bootstrap import USERS_HOOK
from abctl.host.hostname import FILE, MOUNT, SERVICE, SHOWN
from abctl.host.machine_id import PATH
from abctl.identity.accounts import ACCOUNTS
from abctl.identity.identity import make_identity
from abctl.identity.management import Management, Source
from abctl.identity.networkd import make_network_files
from tests.disks import needs_loop
from tests.host_files import FILES, INITRAMFS, UNITS, Stage
from tests.test_cli import ABCTL
from tests.test_identity_keys import ED25519
from tests.test_initramfs import SHELLS

MACHINE_ID = "0123456789abcdef0123456789abcdef"
SHOW = INITRAMFS / "scripts/local-bottom/abctl"

# --- the machine-id ---------------------------------------------------------------------------------


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def shell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return tuple(request.param)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """An initramfs whose new root is mounted, and whose config volume is the folder ``volume``."""
    stage = Stage(tmp_path, {"rootmnt": f"{tmp_path}/newroot"})
    (tmp_path / "bin").symlink_to("programs")
    (tmp_path / "sbin").symlink_to("programs")
    (tmp_path / "scripts").symlink_to(INITRAMFS / "scripts")
    (tmp_path / "usr/lib/abctl").mkdir(parents=True)
    (tmp_path / "usr/lib/abctl/timeout").symlink_to("/usr/bin/timeout")
    stage.tell_kernel("root=/dev/mapper/hostlvm-B_root dfinity.system=B abctl.why=primary")
    stage.write("dev/mapper/hostlvm-config", "")
    stage.write("newroot/etc/machine-id", "")
    # A bind mount is played by a copy, the config volume by a link.
    stage.play(
        "mount",
        'for last; do :; done; case $* in *"-o bind"*) cp -p "$3" "$last";; '
        '*) rmdir "$last" && ln -s "$ABCTL_ROOT/volume" "$last";; esac',
    )
    stage.play("umount", 'rm "$1"; mkdir "$1"')
    stage.write(f"volume/{PATH}", f"{MACHINE_ID}\n")
    return stage


def shown(stage: Stage) -> str:
    return (stage.root / "newroot/etc/machine-id").read_text().strip()


def test_systemd_finds_the_machine_id_that_is_kept(stage: Stage, shell: tuple[str, ...]) -> None:
    done = stage.run(*shell, SHOW)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert shown(stage) == MACHINE_ID
    mount, umount, bind = stage.calls
    assert mount.startswith("mount -t ext4 -o ro,nodev,nosuid,noexec ")
    assert umount.startswith("umount ")
    assert bind.startswith("mount -o bind ")
    assert (stage.root / "run/abctl-machine-id").stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize(
    "text", ["", "0" * 32, MACHINE_ID[1:], MACHINE_ID + "0", MACHINE_ID.upper(), "$(reboot)", "\x00" * 33]
)
def test_what_is_no_machine_id_is_left_alone(stage: Stage, shell: tuple[str, ...], text: str) -> None:
    stage.write(f"volume/{PATH}", text)
    assert stage.run(*shell, SHOW).returncode == 0
    assert shown(stage) == ""
    assert not [call for call in stage.calls if "bind" in call]


def test_at_the_first_boot_there_is_none_yet(stage: Stage, shell: tuple[str, ...]) -> None:
    (stage.root / "volume" / PATH).unlink()
    done = stage.run(*shell, SHOW)
    assert (done.returncode, done.stdout, shown(stage)) == (0, "", "")


@pytest.mark.parametrize("spoil", ["link", "missing", "no volume", "mount fails"])
def test_whatever_is_wrong_the_boot_goes_on(stage: Stage, shell: tuple[str, ...], spoil: str) -> None:
    target = stage.root / "newroot/etc/machine-id"
    match spoil:
        case "link":
            target.unlink()
            target.symlink_to(stage.write("elsewhere", ""))
        case "missing":
            target.unlink()
        case "no volume":
            (stage.root / "dev/mapper/hostlvm-config").unlink()
            stage.play("lvm", "exit 5")
        case "mount fails":
            stage.play("mount", "exit 32")
    done = stage.run(*shell, SHOW)
    assert done.returncode == 0
    assert done.stdout.startswith("abctl: ")
    assert not [call for call in stage.calls if "bind" in call]


def test_a_machine_that_grub_of_abctl_did_not_start_is_not_touched(
    stage: Stage, shell: tuple[str, ...]
) -> None:
    stage.tell_kernel("root=/dev/sda1 quiet")
    assert stage.run(*shell, SHOW).returncode == 0
    assert stage.calls == []


BOOT = """\
set -eu
mount --make-rprivate /
sh "$script"
# What the initramfs and systemd do next: /run moves, and the id is read where it is shown.
mkdir -p "$ABCTL_ROOT/newroot/run"
mount --bind "$ABCTL_ROOT/run" "$ABCTL_ROOT/newroot/run"
cat "$rootmnt/etc/machine-id"
grep -c "$ABCTL_ROOT/run/abctl-config" /proc/self/mountinfo || true
"""


@pytest.mark.slow
@needs_loop
def test_a_real_config_volume_is_read_and_unmounted_again(tmp_path: Path) -> None:
    volume = tmp_path / "volume/abctl/machine-id"
    volume.parent.mkdir(parents=True)
    volume.write_text(f"{MACHINE_ID}\n")
    image = tmp_path / "dev/mapper/hostlvm-config"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"")
    os.truncate(image, 4 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-d", tmp_path / "volume", image], check=True)
    before = image.read_bytes()
    stage = Stage(tmp_path, {"rootmnt": f"{tmp_path}/newroot", "script": str(SHOW)})
    (tmp_path / "bin").symlink_to("/bin")
    (tmp_path / "scripts").symlink_to(INITRAMFS / "scripts")
    (tmp_path / "usr/lib/abctl").mkdir(parents=True)
    (tmp_path / "usr/lib/abctl/timeout").symlink_to("/usr/bin/timeout")
    stage.tell_kernel("root=/dev/mapper/hostlvm-B_root dfinity.system=B abctl.why=primary")
    stage.write("newroot/etc/machine-id", "")
    done = stage.run("unshare", "--mount", "sh", "-c", BOOT)
    assert (done.stdout, done.stderr, done.returncode) == (f"{MACHINE_ID}\n0\n", "", 0)
    assert image.read_bytes() == before
    assert shown(stage) == ""


# --- users and units --------------------------------------------------------------------------------


def test_sysusers_and_tmpfiles_make_the_users_that_abctl_knows() -> None:
    users = (FILES / "usr/lib/sysusers.d/abctl-identity.conf").read_text()
    found = re.findall(r'^u (\S+) - "[^"]+" (\S+) (\S+)$', users, re.M)
    assert found == [(account.name, account.home, account.shell) for account in ACCOUNTS]
    homes = (FILES / "usr/lib/tmpfiles.d/abctl-identity.conf").read_text()
    for account in ACCOUNTS:
        if account.has_keys:
            assert f"d {account.home} 0750 {account.name} {account.name} -\n" in homes


PASSWD = """\
root:x:0:0:root:/root:/bin/bash
backup:x:34:34:backup:/var/backups:/usr/sbin/nologin
backupper:x:35:35:x:/home/backupper:/bin/sh
node_exporter:x:998:998:node_exporter service account:/home/node_exporter:/usr/sbin/nologin
"""


def test_an_image_has_debian_s_user_backup_with_the_home_and_shell_that_are_wanted(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    fragment = tmp_path / "usr/lib/sysusers.d/abctl-identity.conf"
    fragment.parent.mkdir(parents=True)
    fragment.write_bytes((FILES / "usr/lib/sysusers.d/abctl-identity.conf").read_bytes())
    for _ in range(2):
        subprocess.run(["sh", "-euc", USERS_HOOK, "hook", tmp_path], check=True)
        expected = PASSWD.replace("/var/backups:/usr/sbin/nologin", "/var/lib/backup:/bin/bash")
        assert (tmp_path / "etc/passwd").read_text() == expected
    assert (tmp_path / "home/node_exporter").is_dir()
    assert not (tmp_path / "var").exists()


def test_the_mount_over_etc_hostname_and_the_program_agree() -> None:
    unit = (UNITS / MOUNT).read_text()
    assert f"What=/{FILE}\nWhere=/{SHOWN}\n" in unit
    assert f"ConditionFileNotEmpty=/{FILE}\n" in unit
    assert f"After={SERVICE}\n" in unit
    service = (UNITS / SERVICE).read_text()
    assert f"network-pre.target {MOUNT}\n" in service
    assert "\nBefore=network-pre.target" in service


@pytest.mark.slow
@needs_loop  # root, that is
def test_systemd_s_own_tools_make_the_users_and_their_homes(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text("root:x:0:\nbackup:x:34:\nnode_exporter:x:998:\n")
    (tmp_path / "var/lib").mkdir(parents=True)
    for kind in ("sysusers.d", "tmpfiles.d"):
        shutil.copytree(FILES / f"usr/lib/{kind}", tmp_path / f"usr/lib/{kind}")
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}"], check=True, capture_output=True)
    subprocess.run(["sh", "-euc", USERS_HOOK, "hook", tmp_path], check=True)
    create = ["systemd-tmpfiles", f"--root={tmp_path}", "--create", "abctl-identity.conf"]
    done = subprocess.run(create, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    lines = [line.split(":") for line in (tmp_path / "etc/passwd").read_text().splitlines()]
    users = {words[0]: (int(words[2]), words[5], words[6]) for words in lines}
    for account in ACCOUNTS:
        number, home, shell = users[account.name]
        assert (home, shell) == (account.home, account.shell)
        if account.has_keys:
            status = (tmp_path / home.lstrip("/")).stat()
            assert (status.st_uid, status.st_mode & 0o777) == (number, 0o750)
    assert (tmp_path / "run/node_exporter/collector_textfile").is_dir()


# --- the network ------------------------------------------------------------------------------------

# systemd-networkd without systemd: in a network of its own, where a veth plays the card.
NETWORK = """\
set -eu
mount --make-rprivate /
mount -t sysfs -o ro sysfs /sys
mount -t tmpfs none /run
mkdir -p /run/systemd /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
cp -r "$scratch/network" /run/systemd/network
ip link add card type veth peer name cable
ip link set cable up
/lib/systemd/systemd-networkd 2>"$scratch/log" &
number=0
until ip link show card | grep -q 'master br6' && ip -6 addr show br6 | grep -q "$address/64"; do
    number=$((number + 1))
    [ "$number" -lt 600 ] || break
    sleep 0.1
done
ip -j link show br6
ip -6 route show default
kill $!
wait
"""


@pytest.mark.slow
@needs_loop  # root, that is
def test_systemd_networkd_makes_the_bridge_with_its_card_and_address(tmp_path: Path) -> None:
    settings = Settings(
        deployment="testnet", ipv6_prefix=parse_prefix("2602:ffe4:801:17"), ipv6_gateway="fe80::1"
    )
    host = make_identity(settings, Management(parse_mac("70:b5:e8:e8:25:de"), Source.SETTINGS)).find(
        Index.HOST
    )
    assert host
    assert host.ipv6
    card = parse_mac("52:54:00:00:00:01")
    for name, text in make_network_files(host, settings.ipv6_gateway, card).items():
        path = tmp_path / "network" / name
        path.parent.mkdir(exist_ok=True)
        # A veth has no permanent address that it could be known by.
        path.write_text(text.replace(f"PermanentMACAddress={card}\n", "Name=card\n"))
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", NETWORK],
        env={**os.environ, "scratch": str(tmp_path), "address": host.ipv6},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    log = (tmp_path / "log").read_text()
    link, route = done.stdout.split("\n", 1)
    assert json.loads(link)[0]["address"] == host.mac_ipv6, log
    assert route.startswith("default via fe80::1 dev br6 ")
    assert not re.search("Unknown|Invalid|parse", log)


# --- the whole of it --------------------------------------------------------------------------------

# A host in namespaces of its own: other mounts, another hostname, and users that this machine does not have.
HOST = """\
set -eu
mount --make-rprivate /
mkdir -p "$scratch/passwd.d" "$scratch/var" "$scratch/boot" "$scratch/run"
cp /etc/passwd "$scratch/passwd"
sed -i '/^backup:/d' "$scratch/passwd"
for name in backup readonly admin; do
    echo "$name:x:$((64000 + ${#name})):$((64000 + ${#name})):x:/var/lib/$name:/bin/bash" >>"$scratch/passwd"
done
mount --bind "$scratch/passwd" /etc/passwd
mount --bind "$scratch/boot" /boot
mkdir -p /boot/config
mount -t tmpfs -o size=1m config /boot/config
mount --bind "$scratch/run" /run
mount --bind "$scratch/var" /var/lib
for name in backup readonly admin; do
    mkdir -m 0750 "/var/lib/$name"
    chown "$name:$((64000 + ${#name}))" "/var/lib/$name"
done
touch "$scratch/hostname" # stands in for /etc/hostname of an image
mount --bind "$scratch/hostname" /etc/hostname
mkdir /boot/config/ssh_authorized_keys
echo "$key" >/boot/config/ssh_authorized_keys/admin
ln -s /etc /var/lib/backup/.ssh
chown -h backup /var/lib/backup/.ssh
echo "$key" >/boot/config/ssh_authorized_keys/backup

"$abctl" identity set management_mac=70:b5:e8:e8:25:de deployment=testnet
"$abctl" identity apply >"$scratch/first"
mount --bind /run/abctl/hostname /etc/hostname # as etc-hostname.mount does
"$python" -c 'from abctl.cli.identity_host import store_node_id; store_node_id("4wd4u-rgdfr")'
echo "name $(uname -n) $(cat /etc/hostname)"
stat -c 'keys %U %a %n' /var/lib/*/.ssh /var/lib/*/.ssh/authorized_keys
ls /etc/authorized_keys 2>/dev/null || true
cat /run/systemd/network/70-abctl-bridge.netdev
"$abctl" identity apply --json
# A full volume: what was there stays.
dd if=/dev/zero of=/boot/config/filler bs=64k 2>/dev/null || true
"$abctl" identity set node_id=zzzzz-aaaaa || echo "code $?"
"$abctl" identity show
"""


@pytest.mark.slow
@needs_loop  # root, that is
def test_a_host_gets_its_identity_and_a_node_id_without_a_reboot(tmp_path: Path) -> None:
    before = os.uname().nodename
    environment = {**os.environ, "scratch": str(tmp_path), "abctl": str(ABCTL), "key": f"{ED25519} me"}
    environment["python"] = str(ABCTL.with_name("python"))
    done = subprocess.run(
        ["unshare", "--mount", "--uts", "sh", "-c", HOST],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    out = done.stdout
    assert "name host-70b5e8e825de-4wd4u host-70b5e8e825de-4wd4u\n" in out
    assert "keys admin 700 /var/lib/admin/.ssh\n" in out
    assert "keys admin 600 /var/lib/admin/.ssh/authorized_keys\n" in out
    assert "keys backup 600 /var/lib/backup/.ssh/authorized_keys\n" in out
    assert "MACAddress=6a:00:f8:87:a4:8a\n" in out
    assert '"changed": [],' in out
    assert "code 50\n" in out
    assert "The config volume is full" in done.stderr
    assert "Hostname   host-70b5e8e825de-4wd4u\n" in out
    assert "was no folder, and was removed" in (tmp_path / "first").read_text().replace("\n           ", " ")
    assert os.uname().nodename == before
