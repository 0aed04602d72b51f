"""A tree of files as it goes into an image: read from a folder, put together, and in one order always."""

import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from abctl.errors import BadTree

_LINKS_MAX = 40  # as many as Linux follows
LATEST = 2**40  # as a time: what is made with the image, which is cut to the time that all is made at
# A build machine's own labels, such as SELinux's, are none of the image's business.
_XATTRS = ("security.capability", "system.posix_acl_access", "system.posix_acl_default", "user.")


@dataclass(frozen=True, slots=True)
class Node:
    """One file, folder, link or device; ``mode`` with its type, ``mtime`` in seconds.

    ``source`` holds a regular file's bytes. Nodes with the same ``same_as`` are one file with several names.
    """

    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = LATEST
    source: Path | None = None
    size: int = 0
    target: str = ""
    device: tuple[int, int] = (0, 0)
    same_as: object = None
    xattrs: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)


# Nodes by their path below the root, without a slash before it; the root itself is not in it.
Tree = dict[str, Node]


def read_tree(folder: Path, *, normal: bool = False) -> Tree:
    """Return what is in ``folder``; sockets are left out. Raise BadTree where it cannot be read.

    With ``normal`` all belongs to root, and modes are 0755 or 0644: so much of them is kept by git.
    """
    try:
        found = dict(_walk(folder))
    except OSError as error:
        raise BadTree(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    return {path: _normal(node) for path, node in found.items()} if normal else found


def _walk(folder: Path) -> Iterator[tuple[str, Node]]:
    waiting = [(folder, "")]
    while waiting:
        where, prefix = waiting.pop()
        with os.scandir(where) as entries:
            for entry in entries:
                path, found = f"{prefix}{entry.name}", entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    waiting.append((Path(entry.path), f"{path}/"))
                if not stat.S_ISSOCK(found.st_mode):
                    yield path, _read_node(Path(entry.path), found)


def _read_node(path: Path, found: os.stat_result) -> Node:
    is_file = stat.S_ISREG(found.st_mode)
    return Node(
        mode=found.st_mode,
        uid=found.st_uid,
        gid=found.st_gid,
        mtime=int(found.st_mtime),
        source=path if is_file else None,
        size=found.st_size if is_file else 0,
        target=str(path.readlink()) if stat.S_ISLNK(found.st_mode) else "",
        device=(os.major(found.st_rdev), os.minor(found.st_rdev)),
        same_as=(found.st_dev, found.st_ino) if is_file and found.st_nlink > 1 else None,
        xattrs=_read_xattrs(path),
    )


def _read_xattrs(path: Path) -> dict[str, bytes]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}  # this file system has none
    return {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in sorted(names)
        if name.startswith(_XATTRS)
    }


def _normal(node: Node) -> Node:
    kind, runs = stat.S_IFMT(node.mode), node.is_folder or node.mode & stat.S_IXUSR
    mode = 0o777 if node.is_link else 0o755 if runs else 0o644
    return replace(node, mode=kind | mode, uid=0, gid=0, mtime=LATEST, same_as=None, xattrs={})


def a_folder(mode: int = 0o755) -> Node:
    return Node(stat.S_IFDIR | mode)


def a_file(source: Path, mode: int = 0o644) -> Node:
    return Node(stat.S_IFREG | mode, source=source, size=source.stat().st_size)


def a_link(target: str) -> Node:
    return Node(stat.S_IFLNK | 0o777, target=target)


def merge(below: Tree, above: Tree) -> Tree:
    """Return both trees in one; where both have a path, ``above`` wins, and what was below a folder is gone.

    A folder that is there already keeps its owner and mode, and a link to a folder stays what it is: a
    file for /lib comes to lie in /usr/lib. Raise BadTree where a folder would replace a file.
    """
    merged = dict(below)
    for path, node in sorted(above.items()):
        place = resolve(merged, path)
        if node.is_folder:
            place = follow(merged, place)
        there = merged.get(place)
        if there and there.is_folder and node.is_folder:
            continue
        if there and there.is_folder != node.is_folder:
            raise BadTree(f"/{path} is to be put where the tree has /{place}, which is of another kind")
        _make_folders(merged, place)
        merged[place] = node
    return merged


def resolve(tree: Tree, path: str) -> str:
    """Return ``path`` with the links followed that its folders are; the last name is left as it is."""
    *folders, name = path.split("/")
    place = ""
    for folder in folders:
        place = follow(tree, f"{place}/{folder}".lstrip("/"))
    return f"{place}/{name}".lstrip("/")


def follow(tree: Tree, path: str) -> str:
    """Return where a path leads to that may be a link; raise BadTree where it leads round in a circle."""
    for _ in range(_LINKS_MAX):
        node = tree.get(path)
        if node is None or not node.is_link:
            return path
        joined = node.target if node.target.startswith("/") else f"{os.path.dirname(path)}/{node.target}"  # noqa: PTH120
        path = os.path.normpath(f"/{joined}").lstrip("/")
    raise BadTree(f"/{path} is a link that leads round in a circle")


def find_file(tree: Tree, path: str) -> Node | None:
    """Return the regular file at ``path``, links followed; None where there is none."""
    node = tree.get(follow(tree, resolve(tree, path)))
    return node if node and node.is_file else None


def _make_folders(tree: Tree, path: str) -> None:
    for parent in reversed(Path(path).parents[:-1]):
        tree.setdefault(str(parent), a_folder())


def without(tree: Tree, paths: Iterable[str], *, keep_folder: bool = False) -> Tree:
    """Return the tree without these paths and all below them, or only without what is below."""
    roots = set(paths)

    def is_gone(path: str) -> bool:
        if path in roots:
            return not keep_folder
        return any(str(parent) in roots for parent in Path(path).parents)

    return {path: node for path, node in tree.items() if not is_gone(path)}


def write_tree(folder: Path, tree: Tree) -> Path:
    """Write folders, files and links of ``tree`` below ``folder``, with their modes; return ``folder``."""
    folder.mkdir()
    folder.chmod(0o755)  # whatever the umask is
    for path, node in sorted(tree.items()):
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if node.is_folder:
            place.mkdir(exist_ok=True)
        elif node.is_link:
            place.symlink_to(node.target)
        elif node.source is not None:
            shutil.copyfile(node.source, place)
        if not node.is_link:
            place.chmod(stat.S_IMODE(node.mode))
    return folder
