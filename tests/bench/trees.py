"""Two real Debian trees a month or more apart, and the images made of them; kept in .cache/bench."""

import shutil
import subprocess
from pathlib import Path

from abctl.core.units import GIB

CACHE = Path(".cache/bench")
ROOT_SIZE, BOOT_SIZE = 4 * GIB, GIB
KERNEL = Path(".cache/kernel/vmlinuz")
_SUITE = "bookworm"
_UUID = "5d6b9a52-7a53-4f1e-9c3e-0e5f2b8f7a10"
# What a hypervisor host has, and enough else for some 400 packages. No kernel: an update without one.
_PACKAGES = (
    "systemd,systemd-sysv,udev,dbus,openssh-server,curl,python3,python3-requests,python3-cryptography,perl,"
    "vim,git,gdb,strace,tcpdump,nftables,lvm2,e2fsprogs,xfsprogs,btrfs-progs,qemu-system-x86,qemu-utils,ovmf,"
    "libvirt-daemon-system,swtpm,ipmitool,smartmontools,nvme-cli,pciutils,usbutils,rsyslog,chrony,zstd,xz-utils,"
    "build-essential,cmake,golang-go,grub-efi-amd64-bin,initramfs-tools-core,firmware-linux-free,man-db,locales"
)


def make_images() -> None:
    """Make v1 and v2 of root.img, and boot.img, where they are missing; needs the network and root."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for version, pockets in (("v1", ("",)), ("v2", ("", "-updates", "-security"))):
        if not (CACHE / f"root-{version}.img").exists():
            tree = _make_tree(version, pockets)
            _make_ext4(CACHE / f"root-{version}.img", tree, ROOT_SIZE)
            shutil.rmtree(tree)
    for name, skipped in (("boot", 0), ("boot-old", 100)):
        if not (CACHE / f"{name}.img").exists():
            _make_ext4(CACHE / f"{name}.img", _make_boot_tree(skipped), BOOT_SIZE)


def _make_tree(version: str, pockets: tuple[str, ...]) -> Path:
    tree = CACHE / f"tree-{version}"
    if tree.exists():
        shutil.rmtree(tree)
    sources = "\n".join(_source_lines(pockets))
    run(
        "mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}",
        "--aptopt=Apt::Install-Recommends false", "--aptopt=APT::Sandbox::User root",
        "--dpkgopt=force-unsafe-io", _SUITE, str(tree), "-",
        stdin=sources,
    )  # fmt: skip
    shutil.rmtree(tree / "dev")
    (tree / "dev").mkdir()
    shutil.rmtree(tree / "var/lib/apt/lists", ignore_errors=True)
    packages = run("dpkg-query", f"--admindir={tree}/var/lib/dpkg", "-W", "-f", "${Package} ${Version}\n")
    (CACHE / f"packages-{version}.txt").write_text(packages)
    return tree


def _source_lines(pockets: tuple[str, ...]) -> list[str]:
    """Return apt's sources for the pockets, from the mirrors that this machine has."""
    main, security = _find_mirrors()
    return [f"deb {security if pocket == '-security' else main} {_SUITE}{pocket} main" for pocket in pockets]


def _find_mirrors() -> tuple[str, str]:
    main = security = ""
    files = [*Path("/etc/apt/sources.list.d").glob("*.sources"), *Path("/etc/apt").glob("sources.list")]
    for file in files:
        for word in file.read_text().split():
            if word.startswith("http") and word.rstrip("/").endswith("debian"):
                main = main or word
            if word.startswith("http") and word.rstrip("/").endswith("debian-security"):
                security = security or word
    return main or "http://deb.debian.org/debian", security or "http://deb.debian.org/debian-security"


def _make_boot_tree(skipped: int) -> Path:
    """A kernel, and as much as an initramfs has, without the first ``skipped`` MiB: packed already."""
    tree = CACHE / "tree-boot"
    tree.mkdir(exist_ok=True)
    shutil.copy(KERNEL, tree / "vmlinuz")
    packed = subprocess.run(
        f"cat /usr/lib/x86_64-linux-gnu/*.so* /usr/bin/* 2>/dev/null | head -c {240 + skipped}M | "
        f"tail -c 240M | zstd -q -3",
        shell=True,
        capture_output=True,
        check=True,
    )
    (tree / "initrd.img").write_bytes(packed.stdout[: 75 << 20])
    return tree


def _make_ext4(image: Path, tree: Path, size: int) -> None:
    new = image.with_suffix(".new")
    new.unlink(missing_ok=True)
    run(
        "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096",
        "-O", "^has_journal,^metadata_csum_seed,^orphan_file", "-U", _UUID,
        "-E", f"hash_seed={_UUID},lazy_itable_init=0", "-d", str(tree), str(new), f"{size // 1024}k",
    )  # fmt: skip
    new.rename(image)


def run(*command: str, stdin: str | None = None) -> str:
    """Return what a command prints; its own messages go to the terminal."""
    done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench: {command[0]} failed with {done.returncode}")
    return done.stdout


def find_changes() -> str:
    """Return how far apart the two trees are, by their packages."""
    first, second = (_read_packages(version) for version in ("v1", "v2"))
    changed = len(second - first)
    return f"{len(second)} packages, {changed} of them newer in v2"


def _read_packages(version: str) -> set[str]:
    return set((CACHE / f"packages-{version}.txt").read_text().split("\n"))
