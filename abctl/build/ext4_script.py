"""What debugfs has to do so that an empty ext4 holds a tree, in an order that depends on the tree alone."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from abctl.build.tree import Node, Tree
from abctl.core.units import KIB, MIB, Bytes
from abctl.errors import BadTree

_BLOCK = 4 * KIB
_INODE = 256
_ENTRY = 8  # bytes in a folder, beside the name
_INLINE_LINK = 60  # bytes of a link's target that stand in the inode itself
_GROUP = 128 * MIB  # in which some blocks are ext4's own
_LINKS_AT_ONCE = 12  # of the longest names, that go into a block of a folder
_EXTENT_MAX = 128 * MIB
_STEP = 4 * MIB  # sizes are whole ones, so that a small change changes no size
_NAME_MAX = 255


@dataclass(frozen=True, slots=True)
class Script:
    """Commands for debugfs, and what they need: bytes of file system, and inodes."""

    commands: bytes
    size: Bytes
    inodes: int


def make_script(tree: Tree, scratch: Path, latest: int) -> Script:
    """Return the commands; times are cut to ``latest``. Attributes' values are written to ``scratch``.

    Raise BadTree for a name that debugfs cannot be told.
    """
    writer = _Writer(tree, scratch, latest)
    lines = [os.fsencode(line) for line in writer.lines()]
    inodes = _count_inodes(tree)
    return Script(b"\n".join(lines) + b"\n", _measure(tree, inodes), inodes)


class _Writer:
    def __init__(self, tree: Tree, scratch: Path, latest: int) -> None:
        self._tree = tree
        self._scratch = scratch
        self._latest = latest
        self._first: dict[object, str] = {}
        self._names: dict[object, int] = {}
        self._links: dict[str, int] = {}
        self._values: dict[bytes, Path] = {}
        self._children: dict[str, list[str]] = {"": []}
        for path, node in sorted(tree.items(), key=lambda item: os.fsencode(item[0])):
            folder, _, name = path.rpartition("/")
            assert not folder or tree[folder].is_folder, path
            _check_name(path, name)
            self._children.setdefault(folder, []).append(path)
            if node.same_as is not None:
                self._names[node.same_as] = self._names.get(node.same_as, 0) + 1

    def lines(self) -> Iterator[str]:
        waiting: list[tuple[str, bool]] = self._below("")
        while waiting:
            path, is_left = waiting.pop()
            node, plain = self._tree[path], path.rpartition("/")[2]
            # Where debugfs looks for a file, <12> is an inode; where it makes one, it is a name.
            name, there = _quote(plain), _quote(f"./{plain}")
            if is_left:
                yield "cd .."
                yield from self._dress(there, node)
            elif node.is_folder:
                yield f"mkdir {name}"
                yield f"cd {there}"
                waiting += [(path, True), *self._below(path)]
            elif node.same_as is not None and node.same_as in self._first:
                yield from self._link(path, name, node)
            else:
                yield self._make(path, name, node)
                yield from self._dress(there, node)

    def _below(self, folder: str) -> list[tuple[str, bool]]:
        """Return what is in a folder, in the order in which a stack takes it."""
        return [(path, False) for path in reversed(self._children.get(folder, []))]

    def _link(self, path: str, name: str, node: Node) -> Iterator[str]:
        folder = path.rpartition("/")[0]
        links = self._links[folder] = self._links.get(folder, 0) + 1
        if links % _LINKS_AT_ONCE == 1:
            yield "expand_dir ."  # ln does not do so by itself
        yield f"ln {_quote(self._first[node.same_as])} {name}"

    def _make(self, path: str, name: str, node: Node) -> str:
        if node.is_link:
            return f"symlink {name} {_quote(node.target)}"
        if node.is_file:
            self._first[node.same_as] = f"/{path}"
            return f"write {_quote(str(node.source))} {name}"
        if stat.S_ISFIFO(node.mode):
            return f"mknod {name} p"
        kind = "b" if stat.S_ISBLK(node.mode) else "c"
        return f"mknod {name} {kind} {node.device[0]} {node.device[1]}"

    def _dress(self, there: str, node: Node) -> Iterator[str]:
        yield f"sif {there} mode 0{node.mode:o}"
        if node.uid:
            yield f"sif {there} uid {node.uid}"
        if node.gid:
            yield f"sif {there} gid {node.gid}"
        yield f"sif {there} mtime @{max(0, min(node.mtime, self._latest))}"
        names = self._names.get(node.same_as, 1)
        if node.same_as is not None and names > 1:
            yield f"sif {there} links_count {names}"
        for attribute, value in node.xattrs.items():
            yield f"ea_set -f {_quote(str(self._keep(value)))} {there} {_quote(attribute)}"

    def _keep(self, value: bytes) -> Path:
        if value not in self._values:
            path = self._scratch / f"value{len(self._values)}"
            path.write_bytes(value)
            self._values[value] = path
        return self._values[value]


def _check_name(path: str, name: str) -> None:
    if "\n" in name or "\r" in name:
        raise BadTree(f"the name {path!r} has a line break, which cannot be put into an image: rename it")
    if len(os.fsencode(name)) > _NAME_MAX:
        raise BadTree(f"the name {path!r} is longer than {_NAME_MAX} bytes: rename it")


def _quote(text: str) -> str:
    if "\n" in text:
        raise BadTree(f"{text!r} has a line break, which cannot be put into an image: rename it")
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def _count_inodes(tree: Tree) -> int:
    """Return how many inodes are made: those of the tree, and some to spare."""
    return -(-(len(tree) * 21 // 20 + 64) // 64) * 64


def _measure(tree: Tree, inodes: int) -> Bytes:
    """Return how large a file system has to be for the tree, in bytes."""
    seen: set[object] = set()
    folders: dict[str, int] = {}
    blocks = 0
    for path, node in tree.items():
        folder = path.rpartition("/")[0]
        folders[folder] = folders.get(folder, 2 * _BLOCK) + _ENTRY + len(os.fsencode(path)) - len(folder) + 4
        if node.same_as is None or node.same_as not in seen:
            seen.add(node.same_as)
            blocks += _blocks_of(node)
    blocks += sum(-(-size // (_BLOCK - 32)) for size in folders.values())
    own = inodes * _INODE + 4 * MIB
    content = blocks * _BLOCK + own
    content += content // _GROUP * 64 * KIB + content // 100
    return Bytes(-(-content // _STEP) * _STEP)


def _blocks_of(node: Node) -> int:
    if node.is_file:
        return -(-node.size // _BLOCK) + node.size // _EXTENT_MAX + bool(node.xattrs)
    if node.is_link:
        return int(len(os.fsencode(node.target)) >= _INLINE_LINK)
    return 1 if node.is_folder else 0
