"""What the campaign does in a machine: wait until it has come to rest, and gather what counts."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abctl.core.command_line import GrubsWord
from abctl.core.health_state import HealthState, Stand, decode
from tests.lab.campaign.places import KEPT_IN_CONFIG
from tests.lab.console import NotSeen
from tests.lab.machine import Machine
from tests.lab.places import REPOSITORY
from tests.lab.variants import VERSION_FILE

_AT_REST = (Stand.CONFIRMED, Stand.CHECKED, Stand.STAYED_UP)
_POLL = 2.0  # seconds
_ANSWER_LIMIT = 45.0  # seconds; then it has been reset
_LIMIT = 1500.0  # seconds to come to rest; three boots of a trial and the fallback
_GATHER = f"""sync
cat {VERSION_FILE}; echo @@
findmnt -rno TARGET,SOURCE,FSTYPE,OPTIONS; echo @@
systemctl --failed --no-legend --plain; echo @@
sha256sum </boot/config/{KEPT_IN_CONFIG}; echo @@
cat /run/abctl/health.json
"""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a host at rest shows from inside."""

    word: GrubsWord
    version: str
    mounts: dict[str, tuple[str, str, str]]  # by mount point: source, type and options
    failed_units: str
    kept_in_config: str  # SHA-256
    health: HealthState | None


def wait_rest(host: Machine, limit: float = _LIMIT) -> GrubsWord:
    """Wait for the next boot whose health service is done, and return what GRUB said about it.

    Boots on the way that end by themselves are let go.
    """
    end = time.monotonic() + limit
    word: GrubsWord | None = None
    while (left := end - time.monotonic()) > 0:
        try:
            word = word or host.wait_up(left)
            health = read_health(host, min(left, _ANSWER_LIMIT))
        except NotSeen:
            word = None
            continue
        if health and health.stand in _AT_REST:
            return word
        time.sleep(_POLL)
    raise NotSeen(f"it did not come to rest within {limit:g} s:\n{host.console.tail()}")


def read_health(host: Machine, limit: float) -> HealthState | None:
    return decode(host.run("cat /run/abctl/health.json", limit).out.encode())


def gather(host: Machine, word: GrubsWord) -> Gathered:
    """Ask a host at rest what counts, and make it write out what it has not."""
    version, mounts, failed, kept, health = host.run(_GATHER).out.split("@@\n")
    found = [line.split() for line in mounts.splitlines()]
    return Gathered(
        word=word,
        version=version.strip(),
        mounts={point: (source, kind, options) for point, source, kind, options in found},
        failed_units=failed.strip(),
        kept_in_config=kept.split()[0] if kept.split() else "",
        health=decode(health.encode()),
    )


def ask_abctl(disk: Path, *arguments: str) -> Any:
    """Run a command of abctl on a disk from outside, and return its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "abctl", "--disk", str(disk), *arguments, "--json"],
        capture_output=True, text=True, check=False, cwd=REPOSITORY,
    )  # fmt: skip
    assert done.returncode == 0, f"abctl {' '.join(arguments)} on a disk:\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout)
