"""One abctl at a time: locks between real processes."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from abctl.errors import Busy, DiskUnusable
from abctl.host.lock import lock_disk, lock_host
from tests.disks import attached, needs_loop

NOBODY = 65534
ENVIRON = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
HOLD = """
import sys
from pathlib import Path
from abctl.host.lock import lock_disk, lock_host
place, folder = sys.argv[1:]
with lock_disk(Path(place), Path(folder)) if place else lock_host(Path(folder)):
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(place: Path | str, folder: Path, *, user: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold the lock."""
    command = [sys.executable, "-c", HOLD, str(place), str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, user=user, env=ENVIRON, cwd="/"
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "locked\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "host.img"
    path.write_bytes(b"x" * 4096)
    return path


def test_a_second_abctl_on_an_image_is_told_who_works_there_and_since_when(
    image: Path, tmp_path: Path
) -> None:
    with held(image, tmp_path) as process, pytest.raises(Busy) as caught, lock_disk(image, tmp_path):
        pass
    assert re.fullmatch(
        rf"another abctl \(pid {process.pid}, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC\) works on "
        rf"{re.escape(str(image))}: wait until it has ended",
        str(caught.value),
    )


def test_the_same_image_by_another_name_is_the_same_image(image: Path, tmp_path: Path) -> None:
    link, twin = tmp_path / "link.img", tmp_path / "twin.img"
    link.symlink_to(image)
    twin.hardlink_to(image)
    with held(image, tmp_path):
        for name in (link, twin):
            with pytest.raises(Busy), lock_disk(name, tmp_path):
                pass


def test_two_images_are_worked_on_at_the_same_time(image: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.img"
    other.write_bytes(image.read_bytes())
    with held(image, tmp_path), lock_disk(other, tmp_path):
        pass


def test_a_lock_ends_with_its_process_however_that_ends(image: Path, tmp_path: Path) -> None:
    with held(image, tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with lock_disk(image, tmp_path):
            pass


def test_a_lock_ends_with_its_block(image: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with lock_disk(image, tmp_path):
            pass
    with pytest.raises(RuntimeError, match="stop"), lock_disk(image, tmp_path):
        raise RuntimeError("stop")
    with lock_disk(image, tmp_path):
        pass


def test_a_child_that_outlives_abctl_does_not_keep_the_lock(image: Path, tmp_path: Path) -> None:
    with lock_disk(image, tmp_path):
        child = subprocess.Popen(["sleep", "60"])
    try:
        with lock_disk(image, tmp_path):
            pass
    finally:
        child.kill()
        child.wait()


def test_nothing_is_left_beside_an_image_or_changed_in_it(image: Path, tmp_path: Path) -> None:
    before = image.stat()
    with lock_disk(image, tmp_path):
        pass
    assert list(tmp_path.iterdir()) == [image]
    after = image.stat()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)


def test_an_image_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(DiskUnusable, match="No such file"), lock_disk(tmp_path / "none.img", tmp_path):
        pass


def test_a_second_abctl_on_the_host_is_told_who_works_there(tmp_path: Path) -> None:
    with held("", tmp_path) as process, pytest.raises(Busy, match=f"pid {process.pid}"), lock_host(tmp_path):
        pass
    with lock_host(tmp_path):
        pass


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "abctl-host.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DiskUnusable), lock_host(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED HERE: needs root to become another user")


def open_to_all(folder: Path) -> None:
    """Let other users come to a folder below the temporary one."""
    for place in (folder, *folder.parents):
        if place.is_relative_to(Path(os.environ.get("TMPDIR", "/tmp"))) and place != Path("/tmp"):
            place.chmod(0o755)


@as_root
@pytest.mark.parametrize("mode", [None, 0o644], ids=["new", "older"])
def test_an_unprivileged_user_cannot_hold_the_lock_of_the_host(mode: int | None, tmp_path: Path) -> None:
    """Else a trial would be neither confirmed nor given up but by reboots, until it fell back."""
    open_to_all(tmp_path)
    file = tmp_path / "abctl-host.lock"
    if mode:
        file.touch(mode)
    with lock_host(tmp_path):
        pass
    stranger = ["flock", "--nonblock", "--exclusive", str(file), "true"]
    done = subprocess.run(stranger, user=NOBODY, capture_output=True, text=True, check=False, cwd="/")
    assert "Permission denied" in done.stderr


@as_root
@pytest.mark.parametrize("first", [None, NOBODY])
def test_an_unprivileged_user_and_root_keep_each_other_out(
    first: int | None, image: Path, tmp_path: Path
) -> None:
    open_to_all(tmp_path)
    image.chmod(0o644)
    with held(image, tmp_path, user=first):
        second = [sys.executable, "-c", HOLD, str(image), str(tmp_path)]
        done = subprocess.run(
            second,
            user=NOBODY if first is None else None,
            input="",
            capture_output=True,
            text=True,
            check=False,
            env=ENVIRON,
            cwd="/",
        )
    assert "abctl.errors.Busy" in done.stderr


@needs_loop
def test_a_device_is_locked_by_its_number_whatever_it_is_called(image: Path, tmp_path: Path) -> None:
    locks, link = tmp_path / "locks", tmp_path / "by-name"
    locks.mkdir()
    with attached(image) as device, held(device, locks):
        link.symlink_to(device)
        for name in (Path(device), link):
            with pytest.raises(Busy), lock_disk(name, locks):
                pass
        assert len(list(locks.iterdir())) == 1
