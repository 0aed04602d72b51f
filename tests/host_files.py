"""The files of a host (abctl/files), and a place where its scripts run with programs that play a part."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import abctl

FILES = Path(abctl.__file__).parent / "files"
UNITS = FILES / "usr/lib/systemd/system"
SCRIPTS = FILES / "usr/lib/abctl"
GENERATOR = FILES / "usr/lib/systemd/system-generators/abctl-generator"
INITRAMFS = FILES / "usr/share/initramfs-tools"


@dataclass
class Stage:
    """A root folder, and programs that stand before the real ones; ``calls`` are how these were called."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in ("programs", "proc", "dev", "run", "etc/abctl"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def tell_kernel(self, words: str) -> None:
        self.write("proc/cmdline", f"BOOT_IMAGE=/vmlinuz {words}\n")

    def play(self, name: str, script: str = "") -> None:
        """Let the program ``name`` be this script of sh."""
        program = self.write(
            f"programs/{name}", f'#!/bin/sh\necho "{name} $*" >>"$ABCTL_ROOT/calls"\n{script}\n'
        )
        program.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a script; one that does not end in a minute fails the test."""
        environment = {
            "PATH": f"{self.root}/programs:{os.environ['PATH']}:/usr/sbin:/sbin",
            "ABCTL_ROOT": str(self.root),
            **self.environment,
        }
        return subprocess.run(
            [str(word) for word in command],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
