"""Signed repositories for tests: keys that are the same each time, a clock, and releases of a few bytes.

repo = make_repository(tmp_path / "repo", ["1.0.0", "2.0.0"])
repo.publish("3.0.0", needs="2.0.0", rollout="1%,100%@3d")
repo.clock.tick(days=2)
repo.renew()
repo.rotate("timestamp")
client(repo, tmp_path / "client").refresh()
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Targets
from tuf.ngclient import FetcherInterface, Updater
from tuf.ngclient.config import UpdaterConfig

from abctl.build import change, rootkeys
from abctl.build.commit import Signers
from abctl.build.keys import encode_public, to_public
from abctl.build.pkcs8 import encode_plain
from abctl.build.publish import Done, Wishes
from abctl.build.publish import publish as publish_release
from abctl.build.repository import Repository, State, read_state
from abctl.build.roles import ONLINE_ROLES, Role
from abctl.build.rootkeys import KeySet
from abctl.core.release import MANIFEST_NAME
from abctl.core.rollout_spec import parse_rollout
from abctl.core.units import Seconds, Version
from abctl.core.version_order import order_of
from tests.releases import LAYOUT

NOON = 1_800_000_000  # 2027-01-15 08:00 UTC
DAY = 86_400


@dataclass
class Clock:
    """A clock that stands still until it is moved; call it for the time."""

    now: int = NOON

    def __call__(self) -> Seconds:
        return Seconds(self.now)

    def tick(self, *, days: float = 0, seconds: int = 0) -> None:
        self.now += int(days * DAY) + seconds


@dataclass(frozen=True)
class Key:
    """A key that is made from its name."""

    name: str

    @property
    def signer(self) -> CryptoSigner:
        private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(self.name.encode()).digest())
        return CryptoSigner(private, to_public(private.public_key(), self.name))

    @property
    def id(self) -> str:
        return str(self.signer.public_key.keyid)

    def write(self, folder: Path) -> Path:
        """Make FILE and FILE.pub in ``folder``, without a passphrase, and return FILE."""
        path = folder / self.name
        folder.mkdir(parents=True, exist_ok=True)
        private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(self.name.encode()).digest())
        path.write_bytes(encode_plain(private))
        path.with_name(f"{self.name}.pub").write_bytes(encode_public(self.signer.public_key))
        return path


def _keys(*names: str) -> list[Key]:
    return [Key(name) for name in names]


@dataclass
class Keys:
    """The keys that sign at the moment."""

    root: list[Key] = field(default_factory=lambda: _keys("root-1", "root-2", "root-3"))
    targets: list[Key] = field(default_factory=lambda: _keys("targets-1"))
    snapshot: list[Key] = field(default_factory=lambda: _keys("online-1"))
    timestamp: list[Key] = field(default_factory=list)  # the same as snapshot where there are none

    def __post_init__(self) -> None:
        self.timestamp = self.timestamp or list(self.snapshot)

    @property
    def online(self) -> list[Key]:
        """The keys of snapshot and timestamp, each once."""
        return list({key.id: key for key in (*self.snapshot, *self.timestamp)}.values())

    @property
    def signers(self) -> Signers:
        return Signers(tuple(key.signer for key in self.targets), tuple(key.signer for key in self.online))

    def of(self, role: Role) -> list[Key]:
        every = {
            Role.ROOT: self.root,
            Role.TARGETS: self.targets,
            Role.SNAPSHOT: self.snapshot,
            Role.TIMESTAMP: self.timestamp,
        }
        return every[role]


@dataclass
class Publisher:
    """A repository's folder, its keys, and the commands of a publisher, at the time of ``clock``."""

    folder: Path
    clock: Clock
    keys: Keys = field(default_factory=Keys)
    release_of: Callable[[str], Path] | None = None  # makes or finds the release directory of a version

    @property
    def repository(self) -> Repository:
        return Repository(self.folder)

    @property
    def metadata(self) -> Path:
        return self.folder / "metadata"

    @property
    def root(self) -> bytes:
        """The first root: what a host is given to trust."""
        return (self.metadata / "1.root.json").read_bytes()

    @property
    def state(self) -> State:
        return read_state(self.repository)

    @property
    def versions(self) -> dict[str, list[Version]]:
        """The versions in ``targets`` and in ``archive``, the newest first."""
        published = self.state.published
        assert published is not None
        return {
            name: sorted(
                (Version(path.partition("/")[0]) for path in document.signed.targets),
                key=order_of,
                reverse=True,
            )
            for name, document in (("targets", published.targets), ("archive", published.archive))
        }

    def publish(
        self,
        version: str,
        *,
        release: Path | None = None,
        needs: str | None = None,
        rollout: str | None = None,
        start: int | None = None,
        floor: str | None = None,
        keep: int | None = None,
        layouts: tuple[str, ...] = (LAYOUT,),
    ) -> Done:
        """Publish a release directory, or one of a few bytes that is made for it."""
        if release is None and self.release_of:
            release = self.release_of(version)
        if release is None:
            release = make_tiny_release(self.folder.parent / "releases" / version, version, layouts=layouts)
        wishes = Wishes(
            needs=Version(needs) if needs else None,
            waves=parse_rollout(rollout) if rollout else None,
            start=None if start is None else Seconds(start),
            floor=Version(floor) if floor else None,
            keep=keep,
        )
        return publish_release(self.repository, release, self.keys.signers, wishes, self.clock())[1]

    def renew(self, *, targets: bool = False) -> Done:
        """Sign timestamp anew, and what else is due; with ``targets`` those and the archive too."""
        signers = self.keys.signers
        used = signers if targets else Signers((), signers.online)
        return change.renew(self.repository, used, self.clock())

    def pause(self, version: str) -> Done:
        return self._change(change.pause, version)

    def resume(self, version: str) -> Done:
        return self._change(change.resume, version)

    def abort(self, version: str, reason: str) -> Done:
        return self._change(change.abort, version, reason)

    def revoke(self, version: str, reason: str) -> Done:
        return self._change(change.revoke, version, reason)

    def undo_revoke(self, version: str) -> Done:
        return self._change(change.undo_revoke, version)

    def set_floor(self, version: str | None) -> Done:
        return self._change(change.set_floor, version)

    def _change(self, how: Callable[..., Done], *arguments: str | None) -> Done:
        return how(self.repository, self.keys.signers, self.clock(), *arguments)

    def rotate(self, role: str, keys: Iterable[str] = (), *, threshold: int | None = None) -> None:
        """Give a role other keys, by their names (default: as many new ones), and sign all with them.

        ``online`` is snapshot and timestamp together.
        """
        roles = ONLINE_ROLES if role == "online" else (Role(role),)
        old = {item: list(self.keys.of(item)) for item in roles}
        new = {item: _keys(*keys) or [Key(_following(key.name)) for key in old[item]] for item in roles}
        wanted = rootkeys.Change(
            add={item: tuple(key.signer.public_key for key in new[item]) for item in roles},
            remove={item: tuple(key.id for key in old[item] if key not in new[item]) for item in roles},
            threshold=dict.fromkeys(roles, threshold) if threshold else {},
        )
        rootkeys.rotate(self.repository, wanted, self.clock())
        for item in roles:
            self.keys.of(item)[:] = dict.fromkeys((*old[item], *new[item]))
        rootkeys.sign_root(self.repository, [key.signer for key in self.keys.root])
        if self.state.pending:
            self.renew(targets=Role.TARGETS in roles)
        for item in roles:
            self.keys.of(item)[:] = new[item]

    # --- what spoils it ---

    def expire(self, role: str = "timestamp") -> None:
        """Move the clock past the date of a role's metadata."""
        published = self.state.published
        assert published is not None
        documents = {item.role: item for item in (*published.documents, self.state.root)}
        self.clock.now = documents[Role(role)].expires + 1

    @contextmanager
    def set_back(self) -> Iterator[None]:
        """Give timestamp.json its present bytes again at the end: what an attacker replays."""
        path = self.metadata / "timestamp.json"
        data = path.read_bytes()
        yield
        path.write_bytes(data)


def _following(name: str) -> str:
    """Return ``root-4`` for ``root-1``: three on, so that names stay apart."""
    stem, _, number = name.rpartition("-")
    return f"{stem}-{int(number) + 3}" if number.isdigit() else f"{name}-2"


def make_repository(
    folder: Path,
    releases: Iterable[str] | Mapping[str, Path] = (),
    *,
    clock: Clock | None = None,
    keys: Keys | None = None,
    root_threshold: int = 2,
    targets_threshold: int = 1,
    lifetimes: Mapping[Role, int] | None = None,
) -> Publisher:
    """Make a repository and publish the releases one after the other; 2 of 3 root keys, one for the others.

    ``releases`` are versions, of which tiny releases are made, or versions with their release directories.
    """
    made = Publisher(folder, clock or Clock(), keys or Keys())
    folder.parent.mkdir(parents=True, exist_ok=True)
    public = {
        role: tuple(key.signer.public_key for key in made.keys.of(role))
        for role in (Role.ROOT, Role.TARGETS, *ONLINE_ROLES)
    }
    thresholds = {Role.ROOT: min(root_threshold, len(made.keys.root)), Role.TARGETS: targets_threshold}
    sets = {role: KeySet(keys, thresholds.get(role, 1)) for role, keys in public.items()}
    rootkeys.init(made.repository, sets, lifetimes or {}, made.clock())
    signers = [key.signer for key in made.keys.root[: thresholds[Role.ROOT]]]
    assert rootkeys.sign_root(made.repository, signers).is_published
    for version in releases:
        made.publish(version, release=releases[version] if isinstance(releases, Mapping) else None)
    return made


def make_tiny_release(folder: Path, version: str, *, layouts: tuple[str, ...] = (LAYOUT,)) -> Path:
    """Make a release directory of a few kilobytes: two images that are not packed, noise by the version."""
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for part, size in (("boot", 1024), ("root", 2048)):
        data = random.Random(f"{version} {part}").randbytes(size)
        (folder / f"{part}.img").write_bytes(data)
        content = {"size": size, "sha256": hashlib.sha256(data).hexdigest()}
        images.append({"part": part, "file": f"{part}.img", "download": content, "image": content})
    manifest = {"format": 1, "version": version, "layouts": list(layouts), "images": images}
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2) + "\n")
    return folder


# --- a client that is not ours ----------------------------------------------------------------------


class FolderFetcher(FetcherInterface):
    """Fetches from a folder, as a USB stick has it, and remembers what: names and bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.fetched: list[tuple[str, int]] = []

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            data = (self._folder / url.removeprefix("repo://")).read_bytes()
        except FileNotFoundError as error:
            raise DownloadHTTPError(f"no {url}", 404) from error
        self.fetched.append((url.rpartition("/")[2], len(data)))
        return iter([data])

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.fetched)


@dataclass
class Client:
    """python-tuf's own client, with a folder that it keeps from one run to the next."""

    repo: Publisher
    folder: Path
    fetcher: FolderFetcher

    def refresh(self) -> Updater:
        """Do what a host does: all checks of the specification, at the repository's time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.fetcher.fetched.clear()
        updater = Updater(
            str(self.folder),
            "repo://metadata/",
            target_base_url="repo://targets/",
            target_dir=str(self.folder),
            fetcher=self.fetcher,
            config=UpdaterConfig(prefix_targets_with_hash=False),
            bootstrap=self.repo.root,
        )
        updater._trusted_set.reference_time = _time(self.repo.clock)
        updater.refresh()
        return updater

    def versions(self) -> list[str]:
        """Refresh, and return the versions on offer."""
        trusted: Any = self.refresh()._trusted_set
        targets: Targets = trusted.targets
        return [path.partition("/")[0] for path in targets.targets]

    def terms(self, version: str) -> dict[str, Any] | None:
        """Refresh, look a release up in targets and archive, and fetch its manifest; None for no such."""
        return _fetch(self.refresh(), version)

    def all_terms(self) -> dict[str, Any]:
        """Refresh, fetch the manifest of each release on offer, and return their terms."""
        updater = self.refresh()
        trusted: Any = updater._trusted_set
        versions = [path.partition("/")[0] for path in trusted.targets.targets]
        return {version: _fetch(updater, version) for version in versions}


def _fetch(updater: Updater, version: str) -> dict[str, Any] | None:
    target = updater.get_targetinfo(f"{version}/manifest.json")
    if target is None:
        return None
    updater.download_target(target)
    terms: dict[str, Any] = target.custom["abctl"]
    return terms


def client(repo: Publisher, folder: Path, served: Path | None = None) -> Client:
    """Return a client of the repository, or of a copy of it in ``served``."""
    return Client(repo, folder, FolderFetcher(served or repo.folder))


def _time(clock: Clock) -> Any:
    return datetime.fromtimestamp(clock(), UTC)
