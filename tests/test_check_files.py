"""Health checks that are programs, good and broken: what is told of them, and that nothing is left."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from abctl.core.health import CheckResult, Verdict
from abctl.host.check_files import Done, find_checks, run_check
from abctl.host.descendants import TAIL_SIZE, run_limited

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what makes a check file of these lines of shell."""

    def write(text: str, name: str = "check", *, kind: str = "required", place: str = "etc") -> Path:
        folder = tmp_path / place / "abctl/health.d" / kind
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return write


def run_one(root: Path, limit: float = 20.0) -> Done:
    (check,) = find_checks(root).files
    return run_check(check, ENVIRONMENT, limit=limit)


def result_of(root: Path, limit: float = 20.0) -> CheckResult:
    return run_one(root, limit).result


def find_alive(marker: str) -> list[str]:
    """Return the processes whose command line has the marker."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and marker.encode() in (folder / "cmdline").read_bytes():
                found.append(folder.name)
        except OSError:
            continue
    return [pid for pid in found if pid != str(os.getpid())]


# --- how a check ends -------------------------------------------------------------------------------


def test_a_check_that_succeeds_has_passed_and_its_last_line_is_shown(tmp_path: Path, write: Write) -> None:
    write("echo first; echo all is well >&2; echo")
    done = run_one(tmp_path)
    assert (done.result.verdict, done.result.text) == (Verdict.PASSED, "all is well")
    assert done.output == ("first", "all is well")


def test_a_required_check_that_fails_has_failed_and_a_wanted_one_warns(tmp_path: Path, write: Write) -> None:
    write("echo no network; exit 7", "a")
    write("exit 7", "b", kind="wanted")
    first, second = (run_check(item, ENVIRONMENT, limit=20).result for item in find_checks(tmp_path).files)
    assert (first.verdict, first.text) == (Verdict.FAILED, "exit code 7: no network")
    assert (second.verdict, second.text) == (Verdict.WARNED, "exit code 7")


def test_a_check_that_a_signal_ends_has_failed(tmp_path: Path, write: Write) -> None:
    write("kill -SEGV $$")
    assert result_of(tmp_path).text == "it was killed by SIGSEGV"


def test_a_check_runs_without_what_this_process_has_set_up(tmp_path: Path, write: Write) -> None:
    """With SIGPIPE ignored or systemd's socket in reach, a check works in a shell and not as a service."""
    ignored = "$((0x$(sed -n 's/^SigIgn:.//p' /proc/$$/status) & 0x1000))"
    write(f"env | grep -q NOTIFY && exit 1; read line && exit 2; echo {ignored}")
    previous = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.environ["NOTIFY_SOCKET"] = "/nowhere"
    try:
        result = result_of(tmp_path)
    finally:
        signal.signal(signal.SIGPIPE, previous)
        del os.environ["NOTIFY_SOCKET"]
    assert (result.verdict, result.text) == (Verdict.PASSED, "0")


@pytest.mark.parametrize("text", ["sleep 1000", "trap '' TERM INT HUP; sleep 1000 & wait; sleep 1000"])
def test_a_check_that_hangs_is_ended_and_has_failed(tmp_path: Path, write: Write, text: str) -> None:
    path = write(f"echo waiting for {tmp_path}\n{text}")
    result = result_of(tmp_path, limit=0.3)
    assert result.verdict is Verdict.FAILED
    assert result.text.startswith("it did not end within 0.3 s, and was ended: waiting for")
    assert find_alive(str(path)) == []


# --- what it leaves ---------------------------------------------------------------------------------


def test_daemons_that_a_check_starts_are_ended_and_are_not_waited_for(tmp_path: Path, write: Write) -> None:
    """They keep its output open, have sessions of their own, and init would be their parent."""
    mark = str(tmp_path / "mark")
    daemon = f"trap '' TERM; touch {mark}; exec -a {mark} sleep 1000"
    write(
        f"""(setsid bash -c "(setsid bash -c \\"{daemon}\\" &); exec -a {mark} sleep 1000" &)
until [ -e {mark} ]; do sleep 0.01; done
echo started"""
    )
    result = result_of(tmp_path)
    assert result.verdict is Verdict.PASSED
    assert result.text == "started (what it left running was ended)"
    assert find_alive(mark) == []


def test_a_check_that_forks_without_end_is_ended_with_all_of_them(tmp_path: Path, write: Write) -> None:
    write(f"while :; do (setsid sleep 1000 {tmp_path} &); n=$((n + 1)); [ $n -lt 60 ] || sleep 0.01; done")
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (min(4000, hard), hard) if hard > 0 else (4000, hard))
    try:
        result = result_of(tmp_path, limit=0.4)
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
    assert "did not end within" in result.text
    assert find_alive(str(tmp_path)) == []


def test_other_children_of_this_process_are_left_alone(tmp_path: Path, write: Write) -> None:
    write("sleep 1000")
    with subprocess.Popen(["sleep", "1000"]) as other:
        try:
            result_of(tmp_path, limit=0.2)
            assert other.poll() is None
        finally:
            other.kill()


def test_no_zombie_and_no_open_file_is_left(tmp_path: Path, write: Write) -> None:
    path = write("(sleep 1000 &); (exit 1 &); exit 0")
    files = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        run_limited(path, ENVIRONMENT, limit=20)
    assert len(list(Path("/proc/self/fd").iterdir())) == files
    stats = [(folder / "stat") for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    parents = [stat.read_text().rpartition(")")[2].split()[:2] for stat in stats if stat.exists()]
    assert ["Z", str(os.getpid())] not in parents


def test_ctrl_c_ends_the_check_too(tmp_path: Path, write: Write) -> None:
    path = write(f"sleep 1000; echo {tmp_path}")

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_limited(path, ENVIRONMENT, limit=20, tick=interrupt)
    assert find_alive(str(path)) == []


# --- what it prints ---------------------------------------------------------------------------------


def test_a_check_that_prints_without_end_fills_no_memory(tmp_path: Path, write: Write) -> None:
    """Some hundred MB in this time: the last lines are kept, and the next turn of the loop is not held up."""
    path = write("exec yes abcdefghijklmnopqrstuvwxyz")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ticks: list[float] = []
    ended = run_limited(
        path, ENVIRONMENT, limit=0.4, tick=lambda: ticks.append(0.0) if len(ticks) < 99 else None
    )
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert ended.code is None
    assert len(ended.output) == TAIL_SIZE
    assert grown < 8 * 1024  # KiB
    assert len(ticks) == 99


def test_what_was_printed_last_is_kept_although_the_check_has_ended(tmp_path: Path, write: Write) -> None:
    write("head -c 60000 /dev/zero | tr '\\0' x; echo; echo the end")
    assert result_of(tmp_path).text == "the end"


def test_output_that_is_no_text_is_cleaned(tmp_path: Path, write: Write) -> None:
    write(r"printf 'first\n\033[31m\377\376red\007\r\000 text\n'; exit 1")
    done = run_one(tmp_path)
    assert done.result.text.isprintable()
    assert all(line.isprintable() for line in done.output)
    assert "text" in done.result.text


# --- files that cannot be run -----------------------------------------------------------------------


def spoil_mode(path: Path) -> None:
    path.chmod(0o644)


def spoil_interpreter(path: Path) -> None:
    path.write_text("#!/no/such/shell\n")


def spoil_format(path: Path) -> None:
    path.write_text("echo\n")


def spoil_writable(path: Path) -> None:
    path.chmod(0o757)


def spoil_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def spoil_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("gone")


def spoil_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def spoil_parent(path: Path) -> None:
    path.parent.chmod(0o777)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_mode, "is not executable: 'chmod +x "),
        (spoil_interpreter, "cannot be started: the interpreter that its first line names does not exist"),
        (spoil_format, "cannot be started: it is no program, and its first line names no interpreter"),
        (spoil_writable, "so it is not run: 'chmod go-w "),
        (spoil_folder, "is a folder, not a program"),
        (spoil_link, "is a link to gone, which cannot be used: No such file"),
        (spoil_pipe, "is not a file"),
        (spoil_parent, "so it is not run: 'chmod go-w "),
    ],
)
def test_a_file_that_cannot_be_run_is_a_failed_check(
    tmp_path: Path, write: Write, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(write("exit 0", "c"))
    (check,) = find_checks(tmp_path).files
    result = run_check(check, ENVIRONMENT, limit=20).result
    assert result.verdict is Verdict.FAILED
    assert said in result.text.replace(f"{tmp_path}/etc/abctl/health.d/", "")


def test_a_file_of_another_user_is_not_run(tmp_path: Path, write: Write) -> None:
    path = write(f"touch {tmp_path}/ran")
    os.chown(path, 12345, 12345)
    assert "belongs to user 12345" in result_of(tmp_path).text
    assert not (tmp_path / "ran").exists()


def test_a_folder_of_checks_that_is_a_file_is_a_failed_check(tmp_path: Path) -> None:
    (tmp_path / "etc/abctl/health.d").mkdir(parents=True)
    (tmp_path / "etc/abctl/health.d/required").write_text("")
    assert "cannot be read: Not a directory" in result_of(tmp_path).text


# --- which there are --------------------------------------------------------------------------------


def test_without_folders_there_is_nothing_to_run(tmp_path: Path) -> None:
    assert find_checks(tmp_path).files == ()


def test_a_host_replaces_a_check_or_switches_it_off(tmp_path: Path, write: Write) -> None:
    write("echo shipped; exit 1", "net", place="usr/lib")
    write("exit 1", "fan", place="usr/lib")
    write("echo own", "net")
    (tmp_path / "etc/abctl/health.d/required/fan").symlink_to("/dev/null")
    assert result_of(tmp_path).text == "own"
    assert find_checks(tmp_path).off == {(True, "fan")}


def test_notes_and_leftovers_of_packages_are_no_checks(tmp_path: Path, write: Write) -> None:
    for name in ("README", "README.md", ".hidden", "net~", "net.dpkg-old", "net.dpkg-dist"):
        write("exit 1", name)
    assert find_checks(tmp_path).files == ()


@pytest.mark.parametrize("name", ["two words", "line\nbreak", "\x1b[31mred", "-rf", "ünïcode", "a.b-c_d"])
def test_a_check_runs_whatever_it_is_called_and_is_shown_clean(
    tmp_path: Path, write: Write, name: str
) -> None:
    write("exit 1", name)
    result = result_of(tmp_path)
    assert result.text == "exit code 1"
    assert result.name.isprintable()


def test_a_name_that_is_no_text_is_shown_clean(tmp_path: Path, write: Write) -> None:
    path = write("exit 1")
    path.rename(path.with_name(os.fsdecode(b"\xff\xfe")))
    result = result_of(tmp_path)
    assert (result.name, result.text) == ("??", "exit code 1")


def test_the_time_of_a_check_is_told(tmp_path: Path, write: Write) -> None:
    write("sleep 0.1")
    began = time.monotonic()
    took = result_of(tmp_path).took
    assert 0.1 <= took <= time.monotonic() - began
