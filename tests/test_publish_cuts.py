"""The power goes at every step of publishing: readers see the old repository or the new one, whole."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from abctl.build import durable, rootkeys
from abctl.build.roles import Role
from abctl.build.rootkeys import Change
from tests.repositories import DAY, Client, Key, Publisher, client, make_repository, make_tiny_release

pytestmark = pytest.mark.slow

STEPS = ("write_bytes", "rename", "flush", "create_folder", "link", "copy", "remove")
Command = Callable[[Publisher], object]


class PowerCut(BaseException):
    """Nothing is done after this."""


class Power:
    """Counts the steps; at the one of number ``cut_at`` the power goes before it, or in the middle of it."""

    def __init__(self, cut_at: int | None, *, torn: bool) -> None:
        self.cut_at = cut_at
        self.torn = torn
        self.steps = 0

    def wrap(self, name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            self.steps += 1
            if self.cut_at is None or self.steps <= self.cut_at:
                return step(*arguments)
            if self.torn and self.steps == self.cut_at + 1:
                tear(name, *arguments)
            raise PowerCut

        return run


def tear(name: str, path: Path, *arguments: Any) -> None:
    """Do half of a step."""
    if name == "write_bytes":
        path.write_bytes(arguments[0][: len(arguments[0]) // 2])
    elif name == "copy":
        arguments[0].write_bytes(path.read_bytes()[:100])
    elif name == "remove" and path.is_dir():
        next(path.iterdir()).unlink()


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """These cuts are between steps; how each gets onto the disk is a matter of the kernel."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@contextmanager
def power(cut_at: int | None, *, torn: bool) -> Iterator[Power]:
    found = Power(cut_at, torn=torn)
    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(durable, name, found.wrap(name, getattr(durable, name)))
        yield found


def publish_first(repo: Publisher) -> object:
    return repo.publish("1.0.0", rollout="1%,100%@3d")


def publish_next(repo: Publisher) -> object:
    return repo.publish("3.0.0", needs="2.0.0", floor="1.1.0", keep=2)


def renew(repo: Publisher) -> object:
    return repo.renew()


def revoke(repo: Publisher) -> object:
    return repo.revoke("2.0.0", "loses network")


def sign_root(repo: Publisher) -> object:
    if not repo.repository.pending_root.exists():
        return None
    return rootkeys.sign_root(repo.repository, [key.signer for key in repo.keys.root[1:]])


def renew_with_both(repo: Publisher) -> object:
    """Sign with the old keys and the new ones; once the root is published the old ones are none any more."""
    new = replace(repo.keys, targets=[Key("targets-2")], **online("online-2"))
    if len(repo.state.roots) == 1:
        new.targets.append(Key("targets-1"))
        new.timestamp.append(Key("online-1"))
    return replace(repo, keys=new).renew(targets=True)


def online(*names: str) -> dict[str, list[Key]]:
    """Return the keys of snapshot and timestamp."""
    return {role: [Key(name) for name in names] for role in ("snapshot", "timestamp")}


def empty(folder: Path) -> Publisher:
    return make_repository(folder)


def with_two(folder: Path) -> Publisher:
    """Half of the snapshot's life is over."""
    repo = make_repository(folder, ["1.0.0", "2.0.0"], lifetimes={Role.TIMESTAMP: 30 * DAY})
    repo.clock.tick(days=8)
    return repo


def with_a_root_that_lacks_one(folder: Path) -> Publisher:
    repo = with_two(folder)
    change = Change(add={Role.ROOT: (Key("root-4").signer.public_key,)})
    rootkeys.rotate(repo.repository, change, repo.clock())
    rootkeys.sign_root(repo.repository, [repo.keys.root[0].signer])
    return repo


def with_a_root_that_changes_keys(folder: Path) -> Publisher:
    repo = with_two(folder)
    pairs = {Role.TARGETS: "targets", Role.SNAPSHOT: "online", Role.TIMESTAMP: "online"}
    change = Change(
        add={role: (Key(f"{name}-2").signer.public_key,) for role, name in pairs.items()},
        remove={role: (Key(f"{name}-1").id,) for role, name in pairs.items()},
    )
    rootkeys.rotate(repo.repository, change, repo.clock())
    assert not rootkeys.sign_root(repo.repository, [key.signer for key in repo.keys.root]).is_published
    return repo


STORIES: dict[str, tuple[Callable[[Path], Publisher], Command]] = {
    "the first release": (empty, publish_first),
    "another release": (with_two, publish_next),
    "renewal": (with_two, renew),
    "recall": (with_two, revoke),
    "signing a root": (with_a_root_that_lacks_one, sign_root),
    "changing keys": (with_a_root_that_changes_keys, renew_with_both),
}
# What signs the timestamp anew in any case does so again when it is repeated.
SIGN_AGAIN = ("renewal", "changing keys")


def see(reader: Client) -> object:
    """Return what a host sees: the terms of every release, each manifest fetched and compared."""
    if not (reader.repo.metadata / "timestamp.json").exists():
        return None
    return reader.all_terms()


def read_published(folder: Path) -> dict[str, bytes]:
    """Return all that is published; what is not finished yet is none of it."""
    files = [path for place in ("metadata", "targets") for path in (folder / place).rglob("*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.is_file()}


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize(
    ("torn", "link"), [(False, True), (True, False)], ids=["before a step", "in the middle, with copies"]
)
def test_a_cut_at_any_step_leaves_the_old_or_the_new_and_the_same_command_ends_it(
    story: str, torn: bool, link: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not link:

        def no_link(*_: Any) -> None:
            raise OSError

        monkeypatch.setattr(durable, "link", no_link)
    make, command = STORIES[story]
    start = make(tmp_path / "start" / "repo")
    reader = client(start, tmp_path / "reader")
    old = see(reader)
    end = copy_of(start, tmp_path / "end")
    with power(None, torn=torn) as whole:
        command(end)
    new, wanted = see(client(end, tmp_path / "end-reader")), read_published(end.folder)
    assert whole.steps
    for cut_at in range(whole.steps):
        here = tmp_path / str(cut_at)
        repo = copy_of(start, here)
        with power(cut_at, torn=torn), pytest.raises(PowerCut):
            command(repo)
        host = client(repo, here / "host")
        if reader.folder.exists():
            shutil.copytree(reader.folder, host.folder, symlinks=True)
        assert see(host) in (old, new)
        command(repo)
        assert story in SIGN_AGAIN or read_published(repo.folder) == wanted
        assert see(host) == new


def copy_of(repo: Publisher, folder: Path) -> Publisher:
    """Return a copy of a repository, whose releases are made in one place for all copies."""
    shutil.copytree(repo.folder, folder / "repo", copy_function=os.link)
    return replace(repo, folder=folder / "repo", release_of=partial(find_release, folder.parent / "releases"))


def find_release(releases: Path, version: str) -> Path:
    folder = releases / version
    return folder if folder.exists() else make_tiny_release(folder, version)


def test_where_the_old_key_is_lost_hosts_wait_for_the_moment_between_and_then_go_on(tmp_path: Path) -> None:
    start = with_a_root_that_changes_keys(tmp_path / "start" / "repo")
    reader = client(start, tmp_path / "reader")
    versions = reader.versions()
    lost = replace(start.keys, targets=[Key("targets-2")], **online("online-2"))
    end = replace(copy_of(start, tmp_path / "end"), keys=lost)
    with power(None, torn=False) as whole:
        end.renew(targets=True)
    for cut_at in range(whole.steps):
        repo = replace(copy_of(start, tmp_path / str(cut_at)), keys=lost)
        with power(cut_at, torn=False), pytest.raises(PowerCut):
            repo.renew(targets=True)
        repo.renew(targets=True)
        host = client(repo, tmp_path / str(cut_at) / "host")
        shutil.copytree(tmp_path / "reader", host.folder, symlinks=True)
        assert host.versions() == versions
        assert len(repo.state.roots) == 2
        assert repo.state.pending is None


def test_a_numbered_file_never_changes_once_it_has_its_name(tmp_path: Path) -> None:
    """A cache may keep such files for ever, also those that an interrupted command left."""
    start = with_two(tmp_path / "start" / "repo")
    end = copy_of(start, tmp_path / "end")
    with power(None, torn=False) as whole:
        publish_next(end)
    for cut_at in range(whole.steps):
        repo = copy_of(start, tmp_path / str(cut_at))
        with power(cut_at, torn=False), pytest.raises(PowerCut):
            publish_next(repo)
        left = {
            name: data
            for name, data in read_published(repo.folder).items()
            if "/.new-" not in name and "timestamp" not in name
        }
        later = replace(repo, clock=replace(repo.clock))
        later.clock.tick(seconds=60)
        publish_next(later)
        now = read_published(repo.folder)
        assert {name: now[name] for name in left} == left
        assert client(repo, tmp_path / str(cut_at) / "host").versions() == ["2.0.0", "3.0.0"]


def in_upload_order(folder: Path) -> list[Path]:
    """Return all files in the order that docs/publishing.md gives."""
    metadata = sorted((folder / "metadata").iterdir())
    roots = [path for path in metadata if path.name.endswith(".root.json")]
    stamp = folder / "metadata" / "timestamp.json"
    rest = [path for path in metadata if path not in (*roots, stamp)]
    return [*sorted(path for path in (folder / "targets").rglob("*") if path.is_file()), *rest, stamp, *roots]


@pytest.mark.parametrize("story", ["another release", "renewal", "recall", "signing a root", "changing keys"])
def test_an_upload_in_order_shows_the_old_or_the_new_at_every_file(story: str, tmp_path: Path) -> None:
    make, command = STORIES[story]
    repo = make(tmp_path / "repo" / "repo")
    served = tmp_path / "served"
    shutil.copytree(repo.folder, served)
    host = client(repo, tmp_path / "host", served)
    old = see(host)
    command(repo)
    for path in in_upload_order(repo.folder):
        target = served / path.relative_to(repo.folder)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target.with_name("upload"))
        target.with_name("upload").rename(target)
        assert see(host) in (old, see(client(repo, tmp_path / "new")))
    assert see(host) == see(client(repo, tmp_path / "new"))
