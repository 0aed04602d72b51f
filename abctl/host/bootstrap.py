"""A Debian tree made from a recipe, by mmdebstrap; needs root, and apt's sources or mirrors."""

import os
import shlex
import tomllib
from collections.abc import Iterable
from pathlib import Path

from abctl.core.apt_sources import find_source_lines
from abctl.core.recipe import Recipe, parse_recipe
from abctl.errors import BadRecipe, ToolFailed
from abctl.host.format import fixed_time
from abctl.host.run import run_for_complaints

_TIME_LIMIT = 3600  # seconds; some 200 packages take two minutes
_APT = Path("/etc/apt")
_NETWORK_FILES = ("etc/hostname", "etc/resolv.conf")  # mmdebstrap copies this machine's
_SOURCES = ("etc/apt/sources.list", "etc/apt/sources.list.d")
# The initramfs comes last, out of all that the tree has then; /dev/null for stdin, since some hooks ask.
_INITRAMFS = """\
for kernel in "$1"/boot/vmlinuz-*; do
    version=${kernel##*/vmlinuz-}
    if [ -e "$kernel" ] && [ -x "$1/usr/sbin/mkinitramfs" ]; then
        chroot "$1" mkinitramfs -o "/boot/initrd.img-$version" "$version" </dev/null
    fi
done
"""
# systemd-sysusers leaves a user alone that is there already, as Debian's backup: this sets home and shell.
USERS_HOOK = """\
if [ -x "$1/usr/bin/systemd-sysusers" ]; then chroot "$1" systemd-sysusers; fi
wanted="$1/usr/lib/sysusers.d/abctl-identity.conf"
if [ -e "$wanted" ]; then
    sed -n 's/^u \\([a-z_]*\\) - "[^"]*" \\([^ ]*\\) \\([^ ]*\\)$/\\1 \\2 \\3/p' "$wanted" |
    while read -r name home shell; do
        sed -i "s|^\\($name:[^:]*:[^:]*:[^:]*:[^:]*\\):.*|\\1:$home:$shell|" "$1/etc/passwd"
        case $home in /var/*) ;; *) mkdir -p "$1$home" ;; esac
    done
fi
"""


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a file; raise BadRecipe."""
    try:
        return parse_recipe(tomllib.loads(path.read_text("utf-8")), str(path))
    except OSError as error:
        raise BadRecipe(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadRecipe(f"{path} is not TOML: {error}") from error


def make_tree(folder: Path, recipe: Recipe, overlays: Iterable[Path]) -> None:
    """Make the recipe's tree in ``folder``, with ``overlays`` in it before its initramfs is made.

    Raise BadRecipe where there is no source for the suite, ToolFailed.
    """
    if os.geteuid() != 0:
        raise ToolFailed(
            "making a tree from a recipe needs root: run this as root, or give a tree with --tree"
        )
    lines = _source_lines(recipe)
    try:
        _run_mmdebstrap(folder, recipe, overlays, lines)
    except ToolFailed as error:
        said = str(error).replace("unshare failed", "mmdebstrap failed", 1)
        raise ToolFailed(f"the tree of {recipe.suite} could not be made: {said}") from error
    _forget_this_machine(folder, recipe)


def _run_mmdebstrap(folder: Path, recipe: Recipe, overlays: Iterable[Path], lines: Iterable[str]) -> None:
    run_for_complaints(
        # Where it is interrupted, all that it started ends, and nothing stays mounted in the tree.
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *("mmdebstrap", "--variant=minbase", "--mode=root"),
        f"--include={','.join(recipe.packages)}",
        "--aptopt=Apt::Install-Recommends false",
        "--aptopt=APT::Sandbox::User root",
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={path}" for path in recipe.exclude),
        *(f"--customize-hook={hook}" for hook in _hooks(recipe, overlays)),
        *(recipe.suite, str(folder), "-"),
        stdin="".join(f"{line}\n" for line in lines).encode(),
        timeout=_TIME_LIMIT,
        # Kernel packages make no initramfs then: it would be the wrong one, and take its time.
        environment={"SOURCE_DATE_EPOCH": str(fixed_time()), "INITRD": "No", "TMPDIR": str(folder.parent)},
    )


def _hooks(recipe: Recipe, overlays: Iterable[Path]) -> list[str]:
    hooks = [f'cp -R -P --preserve=mode,links {shlex.quote(str(folder))}/. "$1"/' for folder in overlays]
    hooks.append(USERS_HOOK)
    hooks += [f'chroot "$1" sh -ec {shlex.quote(command)}' for command in recipe.commands]
    hooks.append(_INITRAMFS)
    return hooks


def _source_lines(recipe: Recipe) -> tuple[str, ...]:
    words = " ".join(recipe.components)
    if recipe.mirrors:
        return tuple(
            mirror if mirror.startswith("deb ") else f"deb {mirror} {recipe.suite} {words}"
            for mirror in recipe.mirrors
        )
    files = [
        _APT / "sources.list",
        *_APT.glob("sources.list.d/*.list"),
        *_APT.glob("sources.list.d/*.sources"),
    ]
    texts = {str(file): file.read_text("utf-8", "replace") for file in files if file.is_file()}
    lines = find_source_lines(texts, recipe.suite, recipe.components)
    if not lines:
        raise BadRecipe(f"apt's sources on this machine have no {recipe.suite}: name mirrors in the recipe")
    return lines


def _forget_this_machine(folder: Path, recipe: Recipe) -> None:
    """Remove what mmdebstrap took over from here, but not what an overlay put in its place."""
    ours = {name: _read(Path("/") / name) for name in _NETWORK_FILES}
    for name, text in ours.items():
        file = folder / name
        if not file.is_symlink() and _read(file) == text:
            file.write_text(f"{recipe.hostname}\n" if name == "etc/hostname" else "")
    for name in _SOURCES:
        path = folder / name
        if path.is_dir():
            for file in path.iterdir():
                file.unlink()
        else:
            path.unlink(missing_ok=True)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
