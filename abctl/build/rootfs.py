"""Boot and Root out of one tree: what goes where, and what is left out because each making has its own."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from abctl.build.tree import Node, Tree, a_file, a_folder, a_link, find_file, merge, without
from abctl.core.recipe import ARGUMENTS_FILE, make_arguments_block
from abctl.core.units import Version
from abctl.errors import BadTree

VERSION_FILE = "opt/ic/share/version.txt"
_FACTORY = "usr/share/factory"
_FSTAB = (
    "# What is mounted where depends on the slot set that was booted: abctl-generator says it to systemd.\n"
)
_MOUNT_POINTS = ("boot", "dev", "proc", "run", "sys", "tmp", "var")
_BOOT_FOLDERS = ("grub", "efi", "config")  # mount points
_STICKY = 0o1777
# Other bytes at each making, or secrets that every host would share.
_UNWANTED = (
    *("etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-"),
    *("etc/.pwd.lock", "etc/ssh/ssh_host_*_key", "etc/ssh/ssh_host_*_key.pub", "root/.bash_history"),
    *("usr/share/factory/var/lib/dpkg/*-old", "usr/share/factory/var/lib/dpkg/*lock*"),
    "usr/share/factory/var/lib/dpkg/triggers/Lock",
)
# What is made anew at run time, or is of no use where nothing is installed.
_NOT_IN_VAR = (
    *("var/cache", "var/lock", "var/log", "var/run", "var/spool", "var/tmp"),
    *("var/lib/apt", "var/lib/dbus", "var/lib/initramfs-tools", "var/lib/systemd", "var/lib/ucf"),
)
# Folders outside /var that a program makes at its start and fails without: Root can only be read.
_MADE_AT_START = (("usr/sbin/libvirtd", "etc/libvirt/secrets", 0o700),)
_DPKG = "var/lib/dpkg"
_VAR_DEPTH = 3  # var/lib/NAME is copied in one piece


@dataclass(frozen=True, slots=True)
class Parts:
    """What goes into each image, and the version of the kernel in Boot."""

    boot: Tree
    root: Tree
    kernel: str


def split_tree(tree: Tree, version: Version, arguments: str, scratch: Path) -> Parts:
    """Return what goes into Boot and Root; new files are written to ``scratch``. Raise BadTree."""
    kernel, boot = _make_boot(tree, arguments, scratch)
    root = without(tree, _MOUNT_POINTS, keep_folder=True)
    root = merge(root, _make_factory(tree, scratch))
    root = {path: node for path, node in root.items() if not _is_unwanted(path)}
    for name in _MOUNT_POINTS:
        there = root.get(name)
        if there is None or not there.is_folder:
            root[name] = a_folder(_STICKY if name == "tmp" else 0o755)
    for program, folder, mode in _MADE_AT_START:
        if program in root and folder not in root:
            root[folder] = a_folder(mode)
    return Parts(boot, merge(root, _own_files(root, version, scratch)), kernel)


def _make_boot(tree: Tree, arguments: str, scratch: Path) -> tuple[str, Tree]:
    kernel = find_kernel(tree)
    image, initramfs = find_file(tree, f"boot/vmlinuz-{kernel}"), find_file(tree, f"boot/initrd.img-{kernel}")
    if image is None or initramfs is None:
        raise BadTree(
            f"the tree has the kernel {kernel} and no /boot/initrd.img-{kernel}: run update-initramfs in it"
        )
    block = scratch / ARGUMENTS_FILE
    block.write_bytes(make_arguments_block(arguments))
    files = {"vmlinuz": _readable(image), "initrd.img": _readable(initramfs), ARGUMENTS_FILE: a_file(block)}
    return kernel, files | {name: a_folder() for name in _BOOT_FOLDERS}


def _readable(node: Node) -> Node:
    return Node(0o100644, mtime=node.mtime, source=node.source, size=node.size)


def find_kernel(tree: Tree) -> str:
    """Return the version of the newest kernel in the tree's /boot; raise BadTree."""
    versions = [
        path.removeprefix("boot/vmlinuz-")
        for path in tree
        if path.startswith("boot/vmlinuz-") and find_file(tree, path)
    ]
    if not versions:
        raise BadTree(
            "the tree has no kernel in /boot: add the packages linux-image-cloud-amd64 and initramfs-tools"
        )
    return max(versions, key=_in_order)


def _in_order(version: str) -> list[tuple[int, str]]:
    return [(int(word or 0), text) for text, word in re.findall(r"(\D*)(\d*)", version)]


def _make_factory(tree: Tree, scratch: Path) -> Tree:
    """Return what packages put into /var, where systemd-tmpfiles takes it from at a slot set's first boot."""
    kept = {path: node for path, node in without(tree, _NOT_IN_VAR).items() if path.startswith("var/")}
    made = {f"{_FACTORY}/{path}": node for path, node in kept.items()}
    lines = list(_say_what_to_copy(kept))
    if not lines:
        return {}
    rules = scratch / "tmpfiles"
    rules.write_text("# Made with the image: what packages put into /var.\n" + "".join(lines))
    return made | {
        f"{_FACTORY}/var": tree.get("var", a_folder()),
        "usr/lib/tmpfiles.d/abctl-image.conf": a_file(rules),
    }


def _say_what_to_copy(kept: Tree) -> Iterator[str]:
    for path, node in sorted(kept.items()):
        depth = path.count("/") + 1
        if depth != _VAR_DEPTH and (depth > _VAR_DEPTH or node.is_folder):
            continue
        # Nothing is installed on a host: what was is read where it is.
        kind = "L" if path == _DPKG else "C"
        # The first path is one word, the second all that is left of the line.
        word = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
        yield f'{kind} "/{word}" - - - - /{_FACTORY}/{path.replace("%", "%%")}\n'


def _is_unwanted(path: str) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in _UNWANTED)


def _own_files(root: Tree, version: Version, scratch: Path) -> Tree:
    texts = {VERSION_FILE: f"{version}\n", "etc/machine-id": ""}
    if not _has_mounts(root):
        texts["etc/fstab"] = _FSTAB
    made = {}
    for number, (path, text) in enumerate(texts.items()):
        source = scratch / f"own{number}"
        source.write_text(text)
        made[path] = a_file(source)
    if "var" in root and "etc/mtab" not in root and "etc" in root:
        made["etc/mtab"] = a_link("../proc/self/mounts")
    return made


def _has_mounts(root: Tree) -> bool:
    fstab = find_file(root, "etc/fstab")
    if fstab is None or fstab.source is None:
        return False
    lines = fstab.source.read_text("utf-8", "replace").splitlines()
    return any(line.strip() and not line.lstrip().startswith("#") for line in lines)
