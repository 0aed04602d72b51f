"""Python's compiled files: made anew, since those in a tree differ from one making to the next.

They count without a look at their sources' times, which an image does not keep; so a program starts as
quickly on a read-only file system as elsewhere.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from abctl.build.abctl_tree import PYTHON_FOLDER
from abctl.build.tree import Tree, a_file

_CACHE = "__pycache__"
_SUFFIX = f".{sys.implementation.cache_tag}.pyc"


@dataclass(frozen=True, slots=True)
class Job:
    """A file to compile; ``path`` is its place in the tree, ``made`` where the result is written."""

    source: Path
    path: str
    made: Path

    @property
    def made_path(self) -> str:
        place = PurePosixPath(self.path)
        return f"{place.parent}/{_CACHE}/{place.stem}{_SUFFIX}"


def plan_compiling(tree: Tree, scratch: Path) -> tuple[Tree, tuple[Job, ...]]:
    """Return the tree without compiled files, and what to compile: folders that had some, and abctl's."""
    folders = {path.removesuffix(f"/{_CACHE}") for path in tree if path.endswith(f"/{_CACHE}")}
    plain = {path: node for path, node in tree.items() if _CACHE not in path.split("/")}
    jobs: list[Job] = []
    for path, node in sorted(plain.items()):
        if not path.endswith(".py") or node.source is None:
            continue
        if path.rpartition("/")[0] in folders or path.startswith(f"{PYTHON_FOLDER}/"):
            jobs.append(Job(node.source, path, scratch / f"{len(jobs)}.pyc"))
    return plain, tuple(jobs)


def encode_jobs(jobs: tuple[Job, ...]) -> str:
    """Return the jobs for ``host.compile``: source, result, and the name for tracebacks."""
    return json.dumps([[str(job.source), str(job.made), f"/{job.path}"] for job in jobs])


def add_compiled(tree: Tree, jobs: tuple[Job, ...]) -> Tree:
    """Return the tree with what was compiled; a file that is for another Python has nothing."""
    made: Tree = {}
    for job in jobs:
        if job.made.exists():
            folder = str(PurePosixPath(job.made_path).parent)
            made.setdefault(folder, tree[str(PurePosixPath(folder).parent)])
            made[job.made_path] = a_file(job.made)
    return tree | made
