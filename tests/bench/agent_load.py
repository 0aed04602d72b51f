"""Load on the agent: so many requests a second from 64 connections for a minute, while an upgrade runs.

python -m tests.bench.agent_load [--seconds 60] [--rate 1000]

Prints how many were answered and how fast, and how long the same upgrade takes with the load and without it.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from abctl.core.units import MIB
from tests.releases import Release, make_release
from tests.test_cli import ABCTL

_CONNECTIONS = 64
_GUESTS = (3, 4)
_LAYOUT = "guestos-small"
_PATIENCE = 10.0  # seconds; what takes longer is lost
_CONFIG = "[agent]\nrate = 100000\nburst = 100000\n"
# As the CPUWeight of the agent's unit beside that of a job's. Who asks would be on processors of its own.
_NICE = ("nice", "-n", "4")


@dataclass
class Count:
    """What came of the requests; seconds each."""

    took: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # what came in place of an answer


async def load(sockets: list[Path], rate: float, until: float) -> Count:
    """Ask at ``rate`` from all connections together until that time."""
    count = Count()
    workers = [
        _work(count, sockets[number % len(sockets)], number, rate, until) for number in range(_CONNECTIONS)
    ]
    await asyncio.gather(*workers)
    return count


async def _work(count: Count, path: Path, number: int, rate: float, until: float) -> None:
    cid = _GUESTS[number % len(_GUESTS)]
    request = json.dumps({"sender_cid": cid, "message": "GetHostOSVersion"}).encode()
    pause = _CONNECTIONS / rate
    due = time.monotonic() + pause * number / _CONNECTIONS
    while due < until:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        due += pause
        began = time.monotonic()
        try:
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(request)
                answer = await reader.read()
                writer.close()
        except (OSError, TimeoutError) as error:
            answer = repr(error).encode()
        if b'"Ok"' in answer:
            count.took.append(time.monotonic() - began)
        else:
            count.lost.append(answer.decode())


def upgrade(folder: Path, release: Release) -> float:
    """Install a release on a fresh copy of the disk, and return how many seconds it took."""
    image = folder / "host.img"
    shutil.copyfile(folder / "base.img", image)
    command: list[str | Path] = [
        ABCTL,
        "--disk",
        image,
        "--booted",
        "A",
        "upgrade",
        release.directory,
        "--quiet",
    ]
    began = time.monotonic()
    subprocess.run([*command, "--sha256", release.manifest_sha256], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def ask(sockets: list[Path], seconds: float, rate: float) -> Count:
    """Ask for so long, from a process of its own."""
    return asyncio.run(load(sockets, rate, time.monotonic() + seconds))


def measure(folder: Path, release: Release, seconds: float, rate: float) -> None:
    """Install again and again under load, then as often without it."""
    sockets = [folder / f"guest-{cid}" for cid in _GUESTS]
    loaded = []
    # Guests have processors of their own; here they get what the host leaves.
    with ProcessPoolExecutor(1, initializer=os.nice, initargs=(19,)) as guests:
        asking = guests.submit(ask, sockets, seconds, rate)
        while not asking.done():
            loaded.append(upgrade(folder, release))
        count = asking.result()
    loaded = loaded[:-1] or loaded  # the last one ran on without the load
    quiet = [upgrade(folder, release) for _ in loaded]
    took = sorted(count.took)
    print(
        f"{len(took) / seconds:.0f} requests a second for {seconds:.0f} s, {len(count.lost)} lost",
        *count.lost[:1],
    )
    if not took:
        return
    print(
        f"answered in {1000 * statistics.median(took):.1f} ms (median), "
        f"{1000 * took[len(took) * 99 // 100]:.1f} ms (99 %), {1000 * took[-1]:.0f} ms (the slowest)"
    )
    print(
        f"an upgrade took {statistics.median(loaded):.2f} s with the load, {statistics.median(quiet):.2f} s "
        f"without, each the median of {len(loaded)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.agent_load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=1000.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, second = (
            make_release(folder / version, version, layout=_LAYOUT, root_size=64 * MIB)
            for version in ("1.0.0", "2.0.0")
        )
        base = folder / "base.img"
        create: list[str | Path] = [
            ABCTL,
            "disk",
            "create",
            base,
            "--layout",
            _LAYOUT,
            "--release",
            first.directory,
        ]
        subprocess.run([*create, "--sha256", first.manifest_sha256], check=True, stdout=subprocess.DEVNULL)
        shutil.copyfile(base, folder / "agent.img")
        (folder / "etc").mkdir()
        (folder / "etc/config.toml").write_text(_CONFIG)
        command = [
            ABCTL,
            "--disk",
            folder / "agent.img",
            "--booted",
            "A",
            "--config",
            folder / "etc",
            "agent",
        ]
        sockets = [word for cid in _GUESTS for word in ("--guest-socket", f"{cid}={folder / f'guest-{cid}'}")]
        options = ("serve", "--no-vsock", "--state", str(folder / "jobs"), *sockets)
        serving = subprocess.Popen([*_NICE, *map(str, command), *options], stderr=subprocess.PIPE)
        try:
            assert serving.stderr
            serving.stderr.readline()
            measure(folder, second, asked.seconds, asked.rate)
        finally:
            serving.terminate()
            _, said = serving.communicate()
            if serving.returncode:
                print(f"the agent ended with {serving.returncode}: {said.decode()}")


if __name__ == "__main__":
    main()
