"""Make docs/pictures of the terminal: real commands on a virtual host, by a clock that stands still.

python -m tests.pages.pictures     makes them all anew (make pictures)
"""

import random
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from abctl.cli.wiring import Target, open_machine
from abctl.core.bootstate import MAX_ATTEMPTS, Copy
from abctl.core.events import Running
from abctl.core.evidence import Stage
from abctl.core.health import CheckResult, Verdict
from abctl.core.slot import Part
from abctl.core.units import MIB
from abctl.host.disk import DiskGrubPartition, open_disk
from abctl.update.operate import note_stage
from tests.demo import KERNEL, LAYOUT, serve
from tests.generated import ROOT
from tests.pages.terminal import Screen, draw_screen, run_on_terminal
from tests.releases import BOOT_SIZE, ROOT_SIZE, Release, make_images, make_release
from tests.repositories import Clock, Publisher, make_repository
from tests.virtual_host import Boot, VirtualHost

FOLDER = ROOT / "docs/pictures"
_MINUTE, _HOUR = 60, 3600
_RATE = "12M"  # slow enough for a picture of the progress
_NOISE = 32 * MIB
_UNDER_WAY = re.compile(r"\bfetching root\b.* ([4-8]\d) %")


@dataclass
class Studio:
    """A virtual host with its repository, and a camera."""

    folder: Path
    publisher: Publisher
    clock: Clock
    host: VirtualHost
    pictures: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, ends: int = 0) -> Iterator[Screen]:
        """Run a command on the host and yield what its terminal shows."""
        command = [sys.executable, "-m", "tests.pages.by_clock", str(self.clock.now), *arguments]
        environ = {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
        yield from run_on_terminal(command, self.folder, environ, ends)

    def on_host(self, *arguments: str) -> list[str]:
        """Return the arguments that name the host as it runs."""
        booted = ("--booted", self.host.booted) if self.host.booted else ()
        return ["--disk", self.host.image.name, *booted, "--config", "etc", *arguments]

    def do(self, *arguments: str) -> None:
        """Run a command on the host that nobody needs to see."""
        *_, _ = self.run(*self.on_host(*arguments))

    def take(self, name: str, *arguments: str, ends: int = 0) -> None:
        """Run a command on the host and keep a picture of how its terminal was left."""
        command = self.on_host(*arguments)
        *_, screen = self.run(*command, ends=ends)
        self.pictures[name] = draw_screen([(shlex.join(["abctl", *command]), screen)])

    def catch(self, name: str, *arguments: str) -> None:
        """Run a command on the host and keep a picture of its progress under way."""
        command = self.on_host(*arguments)
        for screen in self.run(*command):
            if name not in self.pictures and any(map(_UNDER_WAY.search, screen.lines)):
                self.pictures[name] = draw_screen([(shlex.join(["abctl", *command]), screen)])
        assert name in self.pictures, screen.lines

    def publish(self, version: str, health_check: str = "exit 0\n") -> Release:
        """Pack a release by hand, and put it on offer."""
        folder = self.folder / version
        made = make_release(folder, version, kernel=KERNEL, layout=LAYOUT, health_check=health_check)
        self.publisher.publish(version, release=folder, layouts=(LAYOUT,))
        return made

    def publish_large(self, version: str) -> None:
        """Build a release as publishers do, with enough in Root that its download can be watched."""
        folder = self.folder / f"{version}-images"
        folder.mkdir()
        sizes = {"boot_size": BOOT_SIZE, "root_size": ROOT_SIZE}
        images = make_images(folder, version, KERNEL, health_check="exit 0\n", **sizes)
        (folder / "noise").write_bytes(random.Random(version).randbytes(_NOISE))
        write = f"write {folder / 'noise'} noise"
        subprocess.run(["debugfs", "-w", "-R", write, images[Part.ROOT]], check=True, capture_output=True)
        parts = [word for part in Part if part in images for word in (f"--{part}", str(images[part]))]
        made = ["--version", version, "--layout", LAYOUT, "--level", "1", "--progress", "none"]
        *_, _ = self.run("release", "build", version, *parts, *made)
        self.publisher.publish(version, release=self.folder / version, layouts=(LAYOUT,))

    def power_on(self) -> Boot:
        self.clock.tick(seconds=2 * _MINUTE)
        return self.host.power_on()

    def fail_trial(self) -> None:
        """Boot the trial, and leave what the health service leaves when its deadline is over."""
        boot = self.power_on()
        words = dict(word.partition("=")[::2] for word in boot.command_line.split())
        running = replace(
            Running.all_of(boot.slot_set, boot.why),
            generation=int(words["abctl.generation"]),
            attempts=int(words["abctl.attempts"]),
        )
        said = self.host.userland().removeprefix("not healthy: ")
        failed = CheckResult("selftest", True, Verdict.FAILED, f"exit code 1: {said}")
        self.clock.tick(seconds=10 * _MINUTE)
        with open_machine(Target(self.host.image, booted=boot.slot_set), write=True) as machine:
            ports = replace(machine.ports, running=running, now=self.clock)
            note_stage(ports, Stage.CHECKS, checks=(failed,), ended=failed.sentence)


def take_pictures(folder: Path) -> dict[str, str]:
    """Return each picture by its name; ``folder`` is where the host lives."""
    clock = Clock()
    publisher = make_repository(folder / "repo", clock=clock)
    studio = Studio(folder, publisher, clock, VirtualHost(folder / "host.img"))
    first = studio.publish("1.0.0")
    (folder / "etc").mkdir()
    (folder / "etc/root.json").write_bytes(publisher.root)
    with serve(folder / "repo") as server:
        (folder / "etc/config.toml").write_text(f'[repository]\nmirrors = ["{server.url}/"]\n')
        *_, _ = studio.run("--config", "etc", *_create(first))
        _tell(studio)
    return studio.pictures


def _create(first: Release) -> list[str]:
    release = ["--release", str(first.directory), "--sha256", first.manifest_sha256]
    return ["disk", "create", "host.img", "--layout", LAYOUT, *release, "--quiet"]


def _tell(studio: Studio) -> None:
    clock = studio.clock
    studio.power_on()
    studio.publish_large("2.0.0")
    clock.tick(seconds=_HOUR)
    studio.catch("upgrade", "upgrade", "--limit-rate", _RATE)
    studio.power_on()
    studio.take("explain", "explain")
    clock.tick(seconds=_MINUTE)
    studio.do("confirm")

    clock.tick(days=1)
    studio.publish("3.0.0", "echo 'the network never came up' >&2\nexit 1\n")
    studio.do("upgrade", "--quiet")
    for _ in range(MAX_ATTEMPTS):
        studio.fail_trial()
    studio.power_on()
    studio.do("settle")
    clock.tick(seconds=20 * _MINUTE)
    studio.take("status", "status")
    studio.take("history", "history")

    DiskGrubPartition(open_disk(studio.host.image)).overwrite(Copy.SECOND, bytes(512))
    studio.take("doctor", "doctor", ends=3)


def main() -> None:
    """Write all of them."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = take_pictures(Path(folder))
    FOLDER.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        (FOLDER / f"{name}.svg").write_text(picture, "utf-8")
    print(f"{len(pictures)} pictures written to {FOLDER.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
