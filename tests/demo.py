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
        target = () if arguments[0] == "disk" else ("--disk", self.host.image.name, *booted)
        shown = ["abctl", *target, *arguments]
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
    with _serve(OUT / "releases") as server:
        _tell(Story(VirtualHost(OUT / "host.img")), releases, server.url)
    print(_bold(f"\nThe whole story took {time.monotonic() - began:.0f} s; the disk is {OUT / 'host.img'}."))


def _tell(story: Story, releases: dict[str, Release], url: str) -> None:
    host = story.host

    def source(version: str) -> tuple[str, ...]:
        return f"{url}/{version}/", "--sha256", releases[version].manifest_sha256

    story.chapter("A new host: a disk with two slot sets, release 1.0.0 in A")
    first = releases["1.0.0"]
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
    story.power_on()
    story.abctl("status")

    story.chapter("Upgrade to 2.0.0: first what would happen, then for real")
    story.abctl("upgrade", *source("2.0.0"), "--dry-run")
    story.abctl("upgrade", *source("2.0.0"))
    story.abctl("rehearse", "--boots", "5")

    story.chapter("Power on: the trial runs and is confirmed")
    story.power_on()
    story.abctl("confirm")

    story.chapter("Upgrade to 3.0.0, which never proves healthy")
    story.abctl("upgrade", *source("3.0.0"))
    for _ in range(3):
        story.power_on()
    print("   nobody confirmed: the attempts are used up")
    story.power_on()
    print("   early in every boot the host records how the last trial ended:")
    story.abctl("settle")
    story.abctl("status")

    story.chapter("3.0.0 is offered again, and refused")
    story.abctl("upgrade", *source("3.0.0"), fails=True)

    story.chapter("3.0.1 mends it: upgrade, power on, confirm")
    story.abctl("upgrade", *source("3.0.1"))
    story.power_on()
    story.abctl("confirm")

    story.chapter("An admin prefers the older release and rolls back")
    story.abctl("rollback")
    story.power_on()
    story.abctl("status")

    story.chapter("What was written, and when")
    story.abctl("history")


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

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """The story is loud enough."""


def _serve(directory: Path) -> _Server:
    return _Server(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(directory)))


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


if __name__ == "__main__":
    main()
