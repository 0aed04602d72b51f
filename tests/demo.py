"""`make demo`: the life of a virtual host, told with the real commands and the real GRUB."""

import functools
import http.server
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from abctl.core.bootenv import Why
from tests.releases import Release, make_release
from tests.virtual_host import VirtualHost

REPOSITORY = Path(__file__).resolve().parents[1]
ABCTL = REPOSITORY / ".venv/bin/abctl"
KERNEL = REPOSITORY / ".cache/kernel/vmlinuz"
OUT = REPOSITORY / "demo-out"
LAYOUT = "hostos-small"
CONFIG = "etc"  # what would be /etc/abctl on the host
REPO = "repo"
ONLINE = ("--online-key", "online.key")
SIGNING = ("--key", "targets.key", *ONLINE)
RELEASES = {"1.0.0": True, "2.0.0": True, "3.0.0": False, "3.0.1": True}  # version: does it prove healthy?


_WHY = {Why.PRIMARY: "the primary", Why.TRIAL: "on trial", Why.FALLBACK: "for the attempts are used up"}


class Story:
    """Tells what happens, runs the commands and shows what they say."""

    def __init__(self, host: VirtualHost) -> None:
        self.host = host
        self.chapters = 0

    def chapter(self, title: str) -> None:
        self.chapters += 1
        print(_bold(f"\n== {self.chapters}. {title}"), flush=True)

    def abctl(self, *arguments: str, fails: bool = False) -> None:
        """Run a command on the virtual host and show it; ``fails`` says that it must be refused."""
        booted = ("--booted", self.host.booted) if self.host.booted else ()
        where = ("--disk", self.host.image.name, *booted, "--config", CONFIG)
        shown = ["abctl", *(() if arguments[0] in ("disk", "release") else where), *arguments]
        print(_bold("$ " + shlex.join(shown)), flush=True)
        done = subprocess.run([ABCTL, *shown[1:]], cwd=self.host.image.parent, check=False)
        if bool(done.returncode) != fails:
            sys.exit(
                f"demo: this command should have {'been refused' if fails else 'worked'}: {shlex.join(shown)}"
            )

    def power_on(self) -> None:
        boot = self.host.power_on()
        health = self.host.userland()
        print(
            f"   power on: GRUB boots slot set {boot.slot_set}, {_WHY[boot.why]}; it is {health}", flush=True
        )


def main() -> None:
    began = time.monotonic()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    print("Building four releases (real ext4 systems with a real kernel) ...", flush=True)
    releases = {version: _build(version, healthy) for version, healthy in RELEASES.items()}
    (OUT / REPO).mkdir()
    with serve(OUT / REPO) as server:
        _tell(Story(VirtualHost(OUT / "host.img")), releases["1.0.0"], server.url)
    print(_bold(f"\nThe whole story took {time.monotonic() - began:.0f} s; the disk is {OUT / 'host.img'}."))


def _tell(story: Story, first: Release, url: str) -> None:
    host = story.host

    story.chapter("The publisher: keys, a repository, and two of three signatures under its root")
    for name in ("root-1", "root-2", "root-3", "targets", "online"):
        story.abctl("release", "keys", "new", f"{name}.key", "--no-passphrase")
    roots = [word for number in (1, 2, 3) for word in ("--root", f"root-{number}.key.pub")]
    others = ("--targets", "targets.key.pub", "--online", "online.key.pub")
    story.abctl("release", "keys", "init", REPO, *roots, "--root-threshold", "2", *others)
    story.abctl("release", "keys", "sign", REPO, "--key", "root-1.key", "--key", "root-3.key")
    story.abctl("release", "publish", REPO, "releases/1.0.0", *SIGNING)

    story.chapter("A new host: a disk with two slot sets, release 1.0.0 in A, and what it trusts")
    story.abctl(
        "disk",
        "create",
        host.image.name,
        "--layout",
        LAYOUT,
        "--release",
        f"releases/{first.version}",
        "--sha256",
        first.manifest_sha256,
    )
    story.abctl("disk", "show", host.image.name)
    _configure(OUT / CONFIG, OUT / REPO, url)
    story.power_on()
    story.abctl("status")

    story.chapter("2.0.0 is published: first what would happen, then for real")
    story.abctl("release", "publish", REPO, "releases/2.0.0", *SIGNING)
    story.abctl("check")
    story.abctl("upgrade", "--dry-run")
    story.abctl("upgrade")
    story.abctl("rehearse", "--boots", "5")

    story.chapter("Power on: the trial runs and is confirmed")
    story.power_on()
    story.abctl("confirm")

    story.chapter(
        "3.0.0 is published for a few hosts first; an admin does not want to wait. It never gets healthy"
    )
    story.abctl("release", "publish", REPO, "releases/3.0.0", *SIGNING, "--rollout", "0.1%@1h,100%@3d")
    story.abctl("upgrade", fails=True)
    story.abctl("upgrade", "3.0.0", "--override", "wave")
    for _ in range(3):
        story.power_on()
    print("   nobody confirmed: the attempts are used up")
    story.power_on()
    print("   early in every boot the host records how the last trial ended:")
    story.abctl("settle")
    story.abctl("status")

    story.chapter("3.0.0 is refused here from now on, and its publisher recalls it for all")
    story.abctl("upgrade", "3.0.0", "--override", "wave", fails=True)
    story.abctl("release", "revoke", REPO, "3.0.0", *SIGNING, "--reason", "its network never comes up")

    story.chapter("3.0.1 mends it: upgrade, power on, confirm")
    story.abctl("release", "publish", REPO, "releases/3.0.1", *SIGNING)
    story.abctl("upgrade")
    story.power_on()
    story.abctl("confirm")

    story.chapter("An admin prefers the older release and rolls back")
    story.abctl("rollback")
    story.power_on()
    story.abctl("status")

    story.chapter("What was written, and when")
    story.abctl("history")


def _configure(folder: Path, repository: Path, url: str) -> None:
    """Give the host what comes with its image: where releases are, and whose signatures count."""
    folder.mkdir()
    shutil.copy(repository / "metadata/1.root.json", folder / "root.json")
    (folder / "config.toml").write_text(f'[repository]\nmirrors = ["{url}/"]\n')
    print(f"   {folder.name}/config.toml names the repository, {folder.name}/root.json is its root")


def _build(version: str, healthy: bool) -> Release:
    check = "exit 0\n" if healthy else "echo 'the network never came up' >&2\nexit 1\n"
    return make_release(OUT / "releases" / version, version, kernel=KERNEL, layout=LAYOUT, health_check=check)


class _Server(http.server.ThreadingHTTPServer):
    """A release server on loopback, for as long as the ``with`` lasts."""

    daemon_threads = True

    def __enter__(self) -> "_Server":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Who looks whether a file is there hangs up before its end, and that is no news."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """The story is loud enough."""


def serve(directory: Path) -> _Server:
    """Serve a folder over HTTP, for as long as the ``with`` lasts."""
    return _Server(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(directory)))


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


if __name__ == "__main__":
    main()
