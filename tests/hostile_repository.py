"""An attacker between a publisher and hosts, and hosts under the real command that meet it.

repo = make_guest_repository(tmp_path / "repo", "2.0.0")
attacker = Attacker(repo, tmp_path / "attacker")
host = make_host(tmp_path / "host", repo.root, [attacker.file_url], repo.clock)
old = attacker.record()
repo.publish("3.0.0"); attacker.relay()
attacker.replay(old)                                          # holds no key
attacker.forge("timestamp", set_version(9), repo.keys.online) # holds the online keys
host.abctl("check")
"""

import atexit
import contextlib
import io
import json
import os
import shutil
import signal
import ssl
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

from securesystemslib.formats import encode_canonical

from abctl.cli import main
from abctl.cli.fetching import FetchOptions
from abctl.core import trust_state
from abctl.core.found import Extent
from abctl.core.layout import Role
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.trust_state import TrustState
from abctl.host.disk import DiskConfigFile, DiskSlots, open_disk
from abctl.host.fetching import Fetching
from abctl.host.http import HttpSource
from abctl.host.source import folder_of
from abctl.ports import Source
from abctl.update.memory import ConfigTrust
from abctl.update.progress import OnProgress, ignore_progress
from abctl.update.refresh import refresh_task
from tests.disks import GUEST, copy_image, fingerprint
from tests.hostile_server import Answer, Behaviour, HostileServer
from tests.repositories import Clock, Key, Publisher, make_repository, make_tiny_release
from tests.test_cli import ABCTL, Said, run

FIRST = "1.0.0"  # what slot set A of each host has
_BLOCK = 64 * 1024
ROLES = ("root", "timestamp", "snapshot", "targets")

Document = dict[str, Any]
Change = Callable[[Document], None]
Files = Mapping[str, bytes]


# --- the publisher ----------------------------------------------------------------------------------


def make_guest_repository(folder: Path, *versions: str, clock: Clock | None = None) -> Publisher:
    """Make a repository with tiny releases for the hosts below."""
    repo = make_repository(folder, clock=clock)
    repo.release_of = lambda version: make_tiny_release(
        folder.parent / "releases" / version, version, layouts=(GUEST,)
    )
    for version in versions:
        repo.publish(version)
    return repo


# --- the attacker -----------------------------------------------------------------------------------


class Attacker:
    """What hosts get: ``folder`` is a copy of the publisher's, until a test changes it."""

    def __init__(self, publisher: Publisher, folder: Path) -> None:
        self.publisher = publisher
        self.folder = folder
        self.relay()

    @property
    def metadata(self) -> Path:
        return self.folder / "metadata"

    @property
    def file_url(self) -> str:
        return f"file://{self.folder}/"

    def relay(self) -> None:
        """Be honest: pass on all that the publisher has now, and nothing else."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("metadata", "targets"):
            if (self.publisher.folder / name).exists():
                shutil.copytree(self.publisher.folder / name, self.folder / name)

    def record(self) -> Files:
        """Return all metadata as it is now."""
        return {path.name: path.read_bytes() for path in self.metadata.iterdir()}

    def replay(self, files: Files) -> None:
        """Serve these files again, whatever is there now."""
        for name, data in files.items():
            self.write(name, data)

    def write(self, name: str, data: bytes) -> None:
        (self.metadata / name).write_bytes(data)

    def drop(self, name: str) -> None:
        (self.metadata / name).unlink()

    def name_of(self, role: str) -> str:
        """Return the name of the role's newest file here."""
        if role == "timestamp":
            return "timestamp.json"
        numbers = [int(path.name.partition(".")[0]) for path in self.metadata.glob(f"*.{role}.json")]
        return f"{max(numbers)}.{role}.json"

    def read(self, role: str) -> Document:
        document: Document = json.loads((self.metadata / self.name_of(role)).read_bytes())
        return document

    def forge(self, role: str, change: Change, keys: Iterable[Key] = ()) -> str:
        """Change what the role's newest file says, sign it by ``keys``, and return its name.

        Without keys the old signatures stay. Its name follows its version; nothing else leads to it.
        """
        document = self.read(role)
        change(document["signed"])
        if keys:
            document["signatures"] = sign(document["signed"], keys)
        version = document["signed"].get("version")
        name = self.name_of(role) if role == "timestamp" else f"{version}.{role}.json"
        self.write(name, json.dumps(document).encode())
        return name

    def mislead(self, role: str, change: Change, keys: Mapping[str, Sequence[Key]]) -> str:
        """Forge a role's next version, and all that leads there, with the keys that are held by role."""
        document = self.read(role)
        next_version(change)(document["signed"])
        document["signatures"] = sign(document["signed"], keys[role])
        return self.plant(role, json.dumps(document).encode(), keys, document["signed"]["version"])

    def plant(
        self, role: str, data: bytes, keys: Mapping[str, Sequence[Key]], version: int | None = None
    ) -> str:
        """Write ``data`` as a role's next file, lead there with the keys that are held; return its name."""
        version = version or self.read(role)["signed"]["version"] + 1
        name = "timestamp.json" if role == "timestamp" else f"{version}.{role}.json"
        self.write(name, data)
        above = {"snapshot": "timestamp", "timestamp": None, "root": None}.get(role, "snapshot")
        if above:
            meta = {"version": version, "length": len(data), "hashes": {"sha256": sha256(data).hexdigest()}}
            self.mislead(above, lambda signed: signed["meta"].update({f"{role}.json": meta}), keys)
        return name


def sign(signed: Document, keys: Iterable[Key]) -> list[Document]:
    """Return signatures over the canonical form of ``signed``."""
    data = (encode_canonical(signed) or "").encode("utf-8", "surrogatepass")
    return [key.signer.sign(data).to_dict() for key in keys]


def set_fields(**fields: Any) -> Change:
    return lambda signed: signed.update(fields)


def next_version(change: Change) -> Change:
    """Return a change that also counts the version on, unless it sets that itself."""

    def both(signed: Document) -> None:
        before = signed["version"]
        change(signed)
        if signed["version"] == before:
            signed["version"] = before + 1

    return both


def issued_at(time: int) -> Change:
    return set_fields(abctl={"issued": time})


def keys_of(publisher: Publisher) -> dict[str, list[Key]]:
    """Return the publisher's keys by role: take those away that the attacker has not."""
    online = list(publisher.keys.online)
    return {
        "root": list(publisher.keys.root),
        "targets": list(publisher.keys.targets),
        "archive": list(publisher.keys.targets),
        "snapshot": online,
        "timestamp": online,
    }


# --- over HTTP --------------------------------------------------------------------------------------


class _Answers(dict[str, Answer]):
    """Answers from a folder, as it is at that moment, save where something else was set."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def get(self, path: str, default: Any = None) -> Any:
        if path in self:
            return self[path]
        file = self._folder / path.lstrip("/")
        return Answer(file.read_bytes()) if file.is_file() else default


class RepositoryServer(HostileServer):
    """Serves a folder; single paths may behave otherwise. With ``context`` it speaks TLS."""

    def __init__(self, folder: Path, context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.answers = _Answers(folder)
        self._folder = folder
        self._scheme = "https" if context else "http"
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.place}"

    @property
    def place(self) -> str:
        """How abctl names it."""
        return f"127.0.0.1:{self.server_address[1]}"

    def misbehave(self, name: str, behaviour: Behaviour, *, every: int = 0) -> None:
        """Answer a file below the repository in this way from now on."""
        path = self._folder / name
        body = path.read_bytes() if path.exists() else b"{}"
        self.answers[f"/{name}"] = Answer(body, behaviour, every)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not like the certificate goes away; nobody needs to know."""


@contextmanager
def serve(folder: Path, context: ssl.SSLContext | None = None) -> Iterator[RepositoryServer]:
    """Yield a server of what is in ``folder``, which ends with the block."""
    with RepositoryServer(folder, context) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


# --- hosts ------------------------------------------------------------------------------------------


@dataclass
class Host:
    """A disk image under the real command, with a configuration and a clock of its own."""

    image: Path
    config: Path
    clock: Clock
    booted: SlotName = SlotName.A
    patience: Mapping[str, Any] = field(
        default_factory=lambda: {"stall_timeout": 0.5, "first_pause": 0.0, "tries": 2}
    )

    def command(self, *arguments: str | Path) -> list[str]:
        options = ("--disk", self.image, "--booted", self.booted, "--config", self.config)
        return [*map(str, options), *map(str, arguments)]

    def abctl(self, *arguments: str | Path) -> Said:
        """Run the command in this process by the host's clock, and so what it has others fetch and check."""
        with _quick(self.patience), patch("abctl.host.clock.now", self.clock):
            return run_here(self.command(*arguments))

    def process(self, *arguments: str | Path) -> Said:
        """Run the command as a user does; what time it is nobody can change."""
        return run(ABCTL, *self.command(*arguments))

    def configure(self, text: str) -> None:
        (self.config / "config.toml").write_text(text)

    def confirm(self) -> None:
        """Boot what is on trial, and keep it."""
        self.booted = self.booted.other
        said = self.abctl("confirm")
        assert said.code == 0, said.err

    def version(self, name: SlotName | None = None) -> str:
        """Return which release the status shows in a slot set, by default in the running one."""
        slot_sets = self.abctl("status", "--json").json("status")["slot_sets"]
        version: str = slot_sets[name or self.booted]["version"]
        return version

    def warnings(self) -> str:
        warnings: list[str] = self.abctl("status", "--json").json("status")["warnings"]
        return "\n".join(warnings)

    def history(self) -> list[str]:
        entries = self.abctl("history", "--json").json("history")["entries"]
        return [entry["sentence"] for entry in entries]

    def slot(self, name: SlotName, part: Part) -> bytes:
        with DiskSlots(open_disk(self.image)).open_for_reading(Slot(name, part)) as volume:
            return volume.read(0, volume.size)

    # --- what it remembers ---

    @cached_property
    def trust_file(self) -> DiskConfigFile:
        return DiskConfigFile(open_disk(self.image), trust_state.PATH, trust_state.FORM.file_size)

    @property
    def trust(self) -> TrustState:
        return ConfigTrust(self.trust_file).read()

    def forget(self, trust: bytes = trust_state.FORM.blank()) -> None:
        """Remember nothing, or what was remembered when its trust file was ``trust``."""
        self.trust_file.overwrite(0, trust)

    def fingerprint(self) -> str:
        return fingerprint(self.image)

    def body(self) -> str:
        """Return the fingerprint of all but the trust file."""
        return _digest_around(self.image, self._trust_places)

    @cached_property
    def _trust_places(self) -> tuple[Extent, ...]:
        with open_disk(self.image).open_file(Role.CONFIG, trust_state.PATH) as file:
            return file.extents


def _digest_around(path: Path, left_out: Iterable[Extent]) -> str:
    """Return a digest of what is in a sparse image, but for some ranges."""
    digest, at = sha256(), 0
    with path.open("rb") as file:
        for place in sorted((*left_out, Extent(path.stat().st_size, 0)), key=lambda place: place.offset):
            for start, data in _find_data(file.fileno(), at, place.offset):
                digest.update(start.to_bytes(8, "big") + data)
            at = place.offset + place.length
    return digest.hexdigest()


def _find_data(fd: int, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield the blocks from ``start`` to ``end`` that are not all zeros; holes are not read."""
    with contextlib.suppress(OSError):  # there is no more data
        while (start := os.lseek(fd, start, os.SEEK_DATA)) < end:
            block = os.pread(fd, min(_BLOCK - start % _BLOCK, end - start), start)
            if block.strip(b"\0"):
                yield start, block
            start += len(block)


@cache
def _base_image() -> Path:
    """A new disk with release FIRST in slot set A; it is made once and then copied."""
    folder = Path(tempfile.mkdtemp(prefix="abctl-tests-"))
    atexit.register(shutil.rmtree, folder)
    release = make_tiny_release(folder / FIRST, FIRST, layouts=(GUEST,))
    digest = sha256((release / "manifest.json").read_bytes()).hexdigest()
    options = ("--layout", GUEST, "--release", str(release), "--sha256", digest)
    said = run_here(["disk", "create", str(folder / "host.img"), *options])
    assert said.code == 0, said.err
    return folder / "host.img"


def make_host(
    folder: Path,
    root: bytes,
    mirrors: Iterable[str],
    clock: Clock,
    *,
    more: str = "",
    image: Path | None = None,
) -> Host:
    """Make a host that trusts ``root`` and knows these mirrors; ``more`` is added to its configuration."""
    config = folder / "etc"
    config.mkdir(parents=True)
    host = Host(copy_image(image or _base_image(), folder / "host.img"), config, clock)
    (config / "root.json").write_bytes(root)
    host.configure(f"[repository]\nmirrors = {json.dumps(list(mirrors))}\n{more}")
    return host


def run_here(arguments: Sequence[str]) -> Said:
    """Run the command line in this process, as its own program does, and return what it said."""
    out, err, code = io.StringIO(), io.StringIO(), -1
    with (
        patch.object(sys, "argv", ["abctl", *arguments]),
        redirect_stdout(out),
        redirect_stderr(err),
        _signals_kept(),
    ):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    said = Said(code, out.getvalue(), err.getvalue())
    assert "Traceback" not in said.err
    assert "fault in abctl" not in said.err, said.err
    return said


@contextmanager
def _signals_kept() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


class _FetchHere:
    """As host.remote.FetchWorker, in this process."""

    def __init__(self, fetching: Fetching) -> None:
        self._fetching = fetching

    def folder(self, url: str, mirrors: tuple[str, ...] = ()) -> HttpSource:
        others = tuple(folder_of(mirror) for mirror in mirrors)
        return HttpSource(folder_of(url), replace(self._fetching, mirrors=others))


def _run_here(_task: str, argument: bytes, source: Source) -> bytes:
    """As host.checked.run_check, in this process."""
    return refresh_task(source, argument)


@contextmanager
def _quick(patience: Mapping[str, Any]) -> Iterator[None]:
    """Have the command ask servers as it always does, but not wait as long, nor start processes for it.

    A process for each command would cost more than all else.
    """
    make = FetchOptions.make_fetching

    def make_quick(self: FetchOptions, on_progress: OnProgress = ignore_progress) -> Fetching:
        return replace(make(self, on_progress), **patience)

    with (
        patch.object(FetchOptions, "make_fetching", make_quick),
        patch("abctl.host.remote.FetchWorker", _FetchHere),
        patch("abctl.host.checked.run_check", _run_here),
    ):
        yield
