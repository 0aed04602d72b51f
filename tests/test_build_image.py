"""Images: what goes where, the same bytes each time, all that a file system can hold, and clear refusals."""

import json
import os
import stat
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from abctl.build.ext4_script import make_script
from abctl.build.rootfs import split_tree
from abctl.build.tree import LATEST, Node, Tree, a_file, a_folder, a_link, merge, read_tree, write_tree
from abctl.cli import cli
from abctl.cli.failure import explain
from abctl.core.envblock import parse_block
from abctl.core.recipe import ARGUMENTS_FILE
from abctl.core.units import KIB, MIB, Bytes, Version
from abctl.errors import AbctlError, BadRecipe, BadTree, DoesNotFit, ToolFailed
from abctl.host.esp import make_esp_files
from abctl.host.image import Filling, make_ext4_image
from abctl.host.layouts import read_layout
from tests.trees import DEEP, FILES, KERNEL, debugfs, list_image, make_tree, read_from

pytestmark = pytest.mark.slow

SCHEMA = Path(__file__).resolve().parents[1] / "schemas/images.schema.json"
UUID = "5d6b9a52-7a53-4f1e-9c3e-0e5f2b8f7a10"
COMMON = ("--layout", "guestos-small", "--version", "1.0.0", "--no-install-abctl")


def build_image(*arguments: str | Path) -> tuple[int, str]:
    """Run the command in this process; return its exit code and what it said."""
    result = CliRunner().invoke(cli, ["build", "image", *map(str, arguments)])
    if isinstance(result.exception, AbctlError):
        sentence, code = explain(result.exception)
        return code, sentence
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout + result.stderr


@dataclass(frozen=True)
class Built:
    folder: Path
    tree: Path
    report: Any


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("images")
    tree = make_tree(folder / "tree")
    code, said = build_image(
        *("--tree", tree, *COMMON, "--output", folder / "made", "--kernel-arguments", "console=ttyS0  quiet"),
        *("--disk", folder / "disk.img", "--json"),
    )
    assert code == 0, said
    return Built(folder / "made", tree, json.loads(said))


# --- what goes where ----------------------------------------------------------------------------------


def test_boot_has_the_newest_kernel_its_initramfs_and_the_mount_points(built: Built) -> None:
    boot = built.folder / "boot.img"
    found = list_image(boot)
    assert set(found) == {"vmlinuz", "initrd.img", ARGUMENTS_FILE, "grub", "efi", "config"}
    assert (read_from(boot, "vmlinuz"), read_from(boot, "initrd.img")) == (b"a kernel", b"an initramfs")
    block = read_from(boot, ARGUMENTS_FILE)
    assert (len(block), parse_block(block)) == (1024, {"kernel_arguments": "console=ttyS0 quiet"})
    assert built.report["kernel"] == KERNEL


def test_root_has_all_else_and_nothing_of_the_making(built: Built) -> None:
    root = built.folder / "root.img"
    found = list_image(root)
    for name in ("boot", "dev", "proc", "run", "sys", "tmp", "var"):
        assert stat.S_ISDIR(found[name].mode)
        assert not [path for path in found if path.startswith(f"{name}/")], name
    assert stat.S_IMODE(found["tmp"].mode) == 0o1777
    assert read_from(root, "opt/ic/share/version.txt") == b"1.0.0\n"
    assert read_from(root, "etc/machine-id") == b""
    assert "etc/ssh/sshd_config" in found
    assert {"etc/shadow-", "etc/ssh/ssh_host_ed25519_key"} & set(found) == set()
    for name, data in FILES.items():
        if name.startswith(("opt/", "usr/")):
            assert read_from(root, name) == data, name
    assert stat.S_ISDIR(found[DEEP].mode)


def test_root_has_the_folder_without_which_libvirt_does_not_start(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    daemon = tree / "usr/sbin/libvirtd"
    daemon.parent.mkdir()
    daemon.touch()
    root = split_tree(read_tree(tree), Version("1.0.0"), "", tmp_path).root
    assert root["etc/libvirt/secrets"].mode == stat.S_IFDIR | 0o700
    daemon.unlink()
    assert "etc/libvirt/secrets" not in split_tree(read_tree(tree), Version("1.0.0"), "", tmp_path).root


def test_what_packages_put_into_var_is_copied_at_the_first_boot(built: Built) -> None:
    root = built.folder / "root.img"
    factory = {path for path in list_image(root) if path.startswith("usr/share/factory/var/lib")}
    assert read_from(root, "usr/share/factory/var/lib/kept/100%") == b"kept"
    assert not [path for path in factory if "status-old" in path]
    lines = read_from(root, "usr/lib/tmpfiles.d/abctl-image.conf").decode().splitlines()[1:]
    assert lines == [
        'L "/var/lib/dpkg" - - - - /usr/share/factory/var/lib/dpkg',
        'C "/var/lib/kept" - - - - /usr/share/factory/var/lib/kept',
    ]


def test_links_pipes_and_modes_are_those_of_the_tree(built: Built) -> None:
    root = built.folder / "root.img"
    found = list_image(root)
    assert found["usr/bin/tool"].mode == stat.S_IFREG | 0o4755
    assert stat.S_ISFIFO(found["usr/lib/fifo"].mode)
    assert b'Fast link dest: "usr/lib"' in debugfs(root, "stat /lib")
    assert found["usr/lib/long"].size == 201
    assert len({found[name].inode for name in ("etc/os-release", "usr/lib/twin1", "usr/lib/twin2")}) == 1
    assert b"Links: 3" in debugfs(root, "stat /usr/lib/twin1")


def test_the_report_keeps_to_its_schema_and_the_files_to_the_report(built: Built) -> None:
    jsonschema.validate(built.report, json.loads(SCHEMA.read_text()))
    assert {path.name for path in built.folder.iterdir()} == {
        "boot.img",
        "root.img",
        "VERSION.TXT",
        "release",
    }
    assert (built.folder / "VERSION.TXT").read_text() == "1.0.0\n"
    manifest = json.loads((built.folder / "release/manifest.json").read_text())
    digests = {image["part"]: image["image"]["sha256"] for image in manifest["images"]}
    assert digests == {image["part"]: image["sha256"] for image in built.report["images"]}


def test_the_same_tree_made_otherwise_gives_the_same_bytes(built: Built, tmp_path: Path) -> None:
    """Another order, another day, holes for zeros, and other permissions of whoever builds."""
    tree = make_tree(tmp_path / "tree", backwards=True)
    arguments = ("--kernel-arguments", "console=ttyS0 quiet", "--json")
    mask = os.umask(0o077)
    try:
        code, said = build_image("--tree", tree, *COMMON, "--output", tmp_path / "made", *arguments)
    finally:
        os.umask(mask)
    assert code == 0, said
    report = json.loads(said)
    assert report["sha256"] == built.report["sha256"]
    assert [image["sha256"] for image in report["images"]] == [
        image["sha256"] for image in built.report["images"]
    ]


def test_no_folders_own_order_counts(built: Built, tmp_path: Path) -> None:
    """One file system lists the same names always alike, so two trees on this machine do not show it."""
    tree = read_tree(built.tree)
    turned = dict(reversed(tree.items()))
    assert make_script(tree, tmp_path, 0) == make_script(turned, tmp_path, 0)


# --- everything a file system can hold ----------------------------------------------------------------


def make_image(path: Path, tree: Tree, size: int | None = None) -> Path:
    scratch = path.with_suffix(".scratch")
    scratch.mkdir()
    script = make_script(tree, scratch, 10**9)
    filling = Filling(script.commands, script.size, script.inodes)
    make_ext4_image(path, "root", UUID, filling, None if size is None else Bytes(size))
    return path


def a_device(kind: int, major: int, minor: int) -> Node:
    return Node(kind | 0o660, gid=6, device=(major, minor))


def test_devices_owners_times_and_attributes(tmp_path: Path) -> None:
    """Made of nodes, so that it needs no root."""
    (tmp_path / "source").write_bytes(b"x" * 5000)
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    file = replace(a_file(tmp_path / "source", 0o750), uid=100_000, gid=70_000, mtime=5, same_as="one")
    image = make_image(
        tmp_path / "image",
        {
            "c": a_device(stat.S_IFCHR, 5, 300),
            "b": a_device(stat.S_IFBLK, 259, 7),
            "ping": replace(file, xattrs={"security.capability": capability, "user.x": b""}),
            "ping2": replace(file, xattrs={"security.capability": capability, "user.x": b""}),
            "later": replace(a_file(tmp_path / "source"), mtime=2**31),
            "link": replace(a_link('to "that" place'), uid=3),
        },
    )
    found = list_image(image)
    assert (found["ping"].uid, found["ping"].gid, found["c"].gid) == (100_000, 70_000, 6)
    assert stat.S_IMODE(found["ping"].mode) == 0o750
    assert b"Device major/minor number: 05:300" in debugfs(image, "stat c")
    assert b"Device major/minor number: 259:07" in debugfs(image, "stat b")
    assert b"mtime: 0x00000005" in debugfs(image, "stat ping")
    assert b"mtime: 0x3b9aca00" in debugfs(image, "stat later")
    assert b'"to "that" place"' in debugfs(image, "stat link")
    assert found["link"].uid == 3
    attributes = debugfs(image, "ea_list ping2").replace(b" ", b"")
    assert b"security.capability(20)=" + capability.hex().encode() in attributes
    assert b"user.x(0)" in attributes


@pytest.mark.parametrize(
    "name", ["<12>", "-x", "#x", "a\tb", "$(x) `y` \\", '"', "ä\udcff", "x" * 255, "..."]
)
def test_any_name_gets_into_an_image(tmp_path: Path, name: str) -> None:
    (tmp_path / "source").write_bytes(b"data")
    tree = {"folder": a_folder(), f"folder/{name}": a_file(tmp_path / "source")}
    image = make_image(tmp_path / "image", tree)
    subprocess.run(["debugfs", "-R", f"rdump /folder {tmp_path}", str(image)], check=True)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == [name]


def test_a_folder_holds_many_links_to_one_file(tmp_path: Path) -> None:
    """debugfs makes no room for links by itself."""
    (tmp_path / "source").write_bytes(b"data")
    file = replace(a_file(tmp_path / "source"), same_as=1)
    image = make_image(tmp_path / "image", {f"{number:04}{'x' * 200}": file for number in range(100)})
    assert len(list_image(image)) == 100


def test_a_tree_may_be_deeper_than_python_recurses(tmp_path: Path) -> None:
    tree = {"/".join(["d"] * depth): a_folder() for depth in range(1, 2000)}
    assert make_script(tree, tmp_path, 0).commands.count(b"\nmkdir") == 1998


@pytest.mark.parametrize(
    ("count", "size"), [(3000, 0), (30, 200 * KIB), (2, 20 * MIB)], ids=["empty", "small", "large"]
)
def test_an_image_without_a_given_size_has_room_and_wastes_little(
    tmp_path: Path, count: int, size: int
) -> None:
    (tmp_path / "source").write_bytes(b"x" * size)
    tree = {f"file{number}": a_file(tmp_path / "source") for number in range(count)}
    image = make_image(tmp_path / "image", tree)
    assert image.stat().st_size < count * size * 1.1 + 14 * MIB


def test_an_image_that_is_too_small_is_refused_with_the_size_that_it_takes(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * 12 * MIB)
    with pytest.raises(DoesNotFit, match=r"image of 8 MiB is too small .* make it 20 MiB"):
        make_image(tmp_path / "image", {"file": a_file(tmp_path / "source")}, 8 * MIB)


# --- trees --------------------------------------------------------------------------------------------


def test_what_is_put_into_a_tree_follows_its_links(tmp_path: Path) -> None:
    """/lib is a link on Debian: a file for it must not come to lie beside the link."""
    (tmp_path / "new").write_text("new")
    below = {"usr": a_folder(), "usr/lib": replace(a_folder(0o700), uid=5), "lib": a_link("usr/lib")}
    merged = merge(below, {"lib": a_folder(), "lib/a/b": a_file(tmp_path / "new")})
    assert set(merged) == {"usr", "usr/lib", "lib", "usr/lib/a", "usr/lib/a/b"}
    assert merged["lib"].is_link
    assert merged["usr/lib"] == below["usr/lib"]
    with pytest.raises(BadTree, match="circle"):
        merge({"a": a_link("b"), "b": a_link("a")}, {"a/x": a_folder()})
    with pytest.raises(BadTree, match="another kind"):
        merge({"a": a_file(tmp_path / "new")}, {"a": a_folder()})


def test_a_written_tree_has_its_modes_whatever_the_umask_is(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("")
    mask = os.umask(0o077)
    try:
        folder = write_tree(
            tmp_path / "made",
            {"a": a_folder(), "a/run": a_file(tmp_path / "source", 0o755), "l": a_link("a")},
        )
    finally:
        os.umask(mask)
    modes = [stat.S_IMODE((folder / name).stat().st_mode) for name in (".", "a", "l", "a/run")]
    assert modes == [0o755] * 4


def test_of_permissions_git_keeps_only_whether_it_runs(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    (tmp_path / "run").chmod(0o700)
    (tmp_path / "file").write_text("")
    (tmp_path / "file").chmod(0o664)
    nodes = read_tree(tmp_path, normal=True)
    assert {path: (stat.S_IMODE(node.mode), node.uid, node.mtime) for path, node in nodes.items()} == {
        "run": (0o755, 0, LATEST),
        "file": (0o644, 0, LATEST),
    }


# --- refusals -----------------------------------------------------------------------------------------


def _spoil(tree: Path, what: str) -> None:
    match what:
        case "kernel":
            for file in (tree / "boot").glob("vmlinuz*"):
                file.unlink()
        case "initramfs":
            (tree / f"boot/initrd.img-{KERNEL}").unlink()
        case "line break":
            (tree / "opt/a\nb").touch()
        case "folder":
            tree.rename(tree.with_name("moved"))


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("kernel", "no kernel in /boot: add the packages linux-image"),
        ("initramfs", f"no /boot/initrd.img-{KERNEL}: run update-initramfs"),
        ("line break", r"'opt/a\nb' has a line break, which cannot be put into an image: rename it"),
        ("folder", "tree cannot be read: No such file or directory"),
    ],
)
def test_a_tree_that_makes_no_image_is_refused_and_nothing_is_left(
    tmp_path: Path, what: str, sentence: str
) -> None:
    _spoil(make_tree(tmp_path / "tree"), what)
    code, said = build_image("--tree", tmp_path / "tree", *COMMON, "--output", tmp_path / "made")
    assert code == BadTree.exit_code
    assert sentence in said
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("tree", "moved")] == []


def test_too_small_a_size_leaves_nothing(tmp_path: Path) -> None:
    make_tree(tmp_path / "tree")
    (tmp_path / "tree/opt/large").write_bytes(b"x" * 10 * MIB)
    arguments = ("--tree", tmp_path / "tree", *COMMON, "--output", tmp_path / "made", "--root-size", "8M")
    code, said = build_image(*arguments)
    assert (code, "root.img of 8 MiB is too small" in said) == (DoesNotFit.exit_code, True)
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "give either --recipe or --tree"),
        (("--tree", "x", "--recipe", "y"), "give either --recipe or --tree"),
        (("--tree", "x", "--layout", "hostos", "--disk", "d"), "a disk has one layout"),
    ],
)
def test_a_wrong_command_line(arguments: tuple[str, ...], sentence: str) -> None:
    code, said = build_image(*arguments, *COMMON, "--output", "made")
    assert (code, sentence in said) == (2, True)


def test_what_cannot_come_to_a_good_end_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    """Making a tree takes minutes."""
    (tmp_path / "disk.img").write_bytes(b"a disk")
    arguments = ("--recipe", tmp_path / "host.toml", *COMMON, "--output", tmp_path / "made")
    (tmp_path / "host.toml").write_text('suite = "none"\npackages = ["dash"]\nroot_size = "1 GiB"\n')
    code, said = build_image(*arguments)
    assert (code, "the root slots of layout guestos-small have 128 MiB" in said) == (23, True)
    code, said = build_image(*arguments, "--root-size", "64M", "--disk", tmp_path / "disk.img")
    assert (code, "disk.img exists: remove it first" in said) == (28, True)


def test_a_tree_without_python_gets_no_abctl(tmp_path: Path) -> None:
    make_tree(tmp_path / "tree")
    code, said = build_image("--tree", tmp_path / "tree", *COMMON[:-1], "--output", tmp_path / "made")
    assert (code, "add the package python3" in said) == (BadTree.exit_code, True)
    (tmp_path / "tree/usr/bin/python3.9").touch()
    (tmp_path / "tree/usr/bin/python3").symlink_to("python3.9")
    code, said = build_image("--tree", tmp_path / "tree", *COMMON[:-1], "--output", tmp_path / "made")
    assert (code, "the tree has Python 3.9, and abctl is installed here for" in said) == (64, True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("suite = ", "is not TOML"),
        ('suite = "bookworm"\npackages = ["dash"]\noverlay = "none"\n', "overlay: there is no folder"),
    ],
)
def test_a_recipe_that_cannot_be_followed(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "host.toml").write_text(text)
    code, said = build_image("--recipe", tmp_path / "host.toml", *COMMON, "--output", tmp_path / "made")
    assert (code, sentence in said) == (BadRecipe.exit_code, True)


# --- the ESP ------------------------------------------------------------------------------------------


def test_a_missing_boot_loader_is_named_with_its_package(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed, match="install the package shim-signed"):
        make_esp_files(read_layout("hostos-small"), tmp_path)
