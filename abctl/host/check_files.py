"""Health checks that are programs: which there are, whether they may be run, and running one."""

import errno
import os
import signal
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from abctl.core.health import CheckResult, judge
from abctl.host.descendants import Ended, run_limited

FOLDERS = ("usr/lib/abctl/health.d", "etc/abctl/health.d")  # what the later one has counts
_IGNORED_STARTS = (".", "README")
_IGNORED_ENDS = ("~", ".dpkg-new", ".dpkg-old", ".dpkg-dist", ".dpkg-tmp")
_OUTPUT_LINES = 20
_LINE_MAX = 200


@dataclass(frozen=True, slots=True)
class CheckFile:
    """A program in a folder of checks; ``problem`` says why there is none to run."""

    name: str
    path: Path
    required: bool
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """A check that was run, and the last lines of what it printed."""

    result: CheckResult
    output: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundChecks:
    """The checks in all folders; ``off`` are those that a link to /dev/null switches off."""

    files: tuple[CheckFile, ...]
    off: frozenset[tuple[bool, str]]


def find_checks(root: Path = Path("/")) -> FoundChecks:
    """Return the checks below ``root``, the required ones first, by name."""
    files: list[CheckFile] = []
    off: set[tuple[bool, str]] = set()
    for kind in ("required", "wanted"):
        required = kind == "required"
        found: dict[str, CheckFile] = {}
        for folder in FOLDERS:
            for item in _list_folder(root / folder / kind, required):
                found[item.name] = item
        for name in sorted(found):
            if _is_switched_off(found[name].path):
                off.add((required, name))
            else:
                files.append(found[name])
    return FoundChecks(tuple(files), frozenset(off))


def _list_folder(folder: Path, required: bool) -> list[CheckFile]:
    try:
        names = [path.name for path in folder.iterdir()]
        problem = _find_stranger(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        reason = f"{folder} cannot be read: {error.strerror}"
        return [CheckFile(folder.parent.name, folder, required, reason)]
    return [CheckFile(name, folder / name, required, problem) for name in names if not _is_ignored(name)]


def _is_ignored(name: str) -> bool:
    return name.startswith(_IGNORED_STARTS) or name.endswith(_IGNORED_ENDS)


def _is_switched_off(path: Path) -> bool:
    return path.is_symlink() and str(path.readlink()) == os.devnull


def _find_stranger(path: Path) -> str | None:
    """Return why somebody else than root may decide what is run."""
    status = path.stat()
    if status.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to user {status.st_uid}, so it is not run: 'chown root {path}'"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others than its owner may change {path}, so it is not run: 'chmod go-w {path}'"
    return None


def _find_problem(path: Path) -> str | None:
    """Return why the file cannot be run."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return f"{path} is a folder, not a program"
        if not stat.S_ISREG(mode):
            return f"{path} is not a file"
        if not mode & stat.S_IXUSR:
            return f"{path} is not executable: 'chmod +x {path}'"
        return _find_stranger(path)
    except OSError as error:
        if path.is_symlink():
            return f"{path} is a link to {path.readlink()}, which cannot be used: {error.strerror}"
        return f"{path} cannot be used: {error.strerror}"


_CANNOT_START = {
    errno.ENOENT: "the interpreter that its first line names does not exist",
    errno.ENOEXEC: "it is no program, and its first line names no interpreter such as #!/bin/sh",
    errno.EACCES: "it, or the interpreter that its first line names, may not be executed",
}


def run_check(
    check: CheckFile,
    environment: Mapping[str, str],
    *,
    limit: float,
    tick: Callable[[], None] = lambda: None,
) -> Done:
    """Run one check for at most ``limit`` seconds; whatever is wrong with it is its result."""
    started = time.monotonic()
    problem = check.problem or _find_problem(check.path)
    if problem is None:
        try:
            ended = run_limited(check.path, environment, limit=limit, tick=tick)
        except OSError as error:
            why = _CANNOT_START.get(error.errno or 0, error.strerror)
            problem = f"{check.path} cannot be started: {why}"
        else:
            return _tell(check, ended, limit, time.monotonic() - started)
    return Done(judge(check.name, problem, required=check.required))


def _tell(check: CheckFile, ended: Ended, limit: float, took: float) -> Done:
    lines = _clean_lines(ended.output)
    said = lines[-1] if lines else ""
    problem = _say_end(ended, limit)
    if problem and said:
        problem += f": {said}"
    elif ended.ended and problem is None:
        said = f"{said} (what it left running was ended)".strip()
    result = judge(check.name, problem, required=check.required, said=said, took=took)
    return Done(result, lines[-_OUTPUT_LINES:])


def _say_end(ended: Ended, limit: float) -> str | None:
    if ended.left:
        return f"{ended.left} of its processes cannot be ended, they wait for the kernel"
    if ended.code is None:
        return f"it did not end within {limit:.3g} s, and was ended"
    if ended.code < 0:
        return f"it was killed by {_name_signal(-ended.code)}"
    return f"exit code {ended.code}" if ended.code else None


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _clean_lines(output: bytes) -> tuple[str, ...]:
    """Return what was printed as lines that a terminal can show."""
    lines = output.decode("utf-8", "replace").splitlines()
    cleaned = ("".join(c if c.isprintable() else " " for c in line).strip()[:_LINE_MAX] for line in lines)
    return tuple(line for line in cleaned if line)
