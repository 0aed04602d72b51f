"""Loading on approval, putting back, and what status and health say: whatever dies, and wherever."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abctl.cli import firewall_standing
from abctl.cli.firewall_standing import FileNotebook, check_firewall, find_standing
from abctl.core.health import Verdict
from abctl.core.units import Seconds
from abctl.errors import NothingToDo, ToolFailed, WriteFailed
from abctl.firewall import change
from abctl.firewall.change import Surroundings
from abctl.firewall.loaded import list_objects, parse_loaded
from abctl.firewall.render import encode, make_objects
from abctl.firewall.state import Memory, Pending, Wanted, decode
from abctl.firewall.state import encode as encode_memory
from abctl.host import clock
from abctl.host.firewall_files import digest_of, find_prefix_files
from abctl.host.firewall_revert import DetachedReverter, SystemdReverter, make_reverter
from tests.firewalls import hostos, read_shipped

pytestmark = pytest.mark.slow

OLD = Wanted("old", make_objects(read_shipped("hostos").rules))
NEW = Wanted("new", make_objects(hostos().rules))
WIDE = Wanted("wide", make_objects(read_shipped("hostos-wide").rules))


class Died(BaseException):
    """The process is gone."""


@dataclass
class World:
    """The kernel, /run and a timer; at step ``dies_at`` the process dies, at ``fails_at`` a call fails."""

    objects: list[dict[str, Any]] | None = None
    memory: Memory = field(default_factory=Memory)
    armed_until: float | None = None
    now: float = 100.0
    steps: int = 0
    dies_at: int | None = None
    fails_at: int | None = None

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.dies_at:
            raise Died
        if self.steps == self.fails_at:
            raise ToolFailed("it does not work")

    # the kernel
    def read(self) -> str | None:
        return None if self.objects is None else encode(self.objects)

    def check(self, commands: str) -> None:
        self.step()
        json.loads(commands)

    def load(self, commands: str) -> None:
        self.step()
        found = list(self.objects or [])
        for command in json.loads(commands)["nftables"]:
            ((verb, item),) = command.items()
            kind = next(iter(item))
            if verb == "flush":
                found = [one for one in found if "rule" not in one]
            elif verb == "delete":
                found = []
            elif kind == "rule" or item not in found:
                found.append(item)
        self.objects = found or None
        self.step()

    # what is remembered
    def write(self, memory: Memory) -> None:
        self.step()
        self.memory = decode(encode_memory(memory))
        assert self.memory == memory
        self.step()

    @contextmanager
    def lock(self) -> Iterator[None]:
        yield

    # the timer
    def arm(self, seconds: float) -> None:
        self.step()
        self.armed_until = self.now + seconds
        self.step()

    def disarm(self) -> None:
        self.armed_until = None

    @property
    def host(self) -> Surroundings:
        notebook = _Notebook(self)
        return Surroundings(self, notebook, self, lambda: self.now, lambda: Seconds(1_800_000_000))

    def wait(self) -> None:
        """Let the time pass, with nobody there but the timer."""
        self.dies_at = self.fails_at = None
        if self.armed_until is not None:
            self.now = self.armed_until
            change.revert_when_due(self.host, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    @property
    def rules(self) -> str:
        """Which rules are loaded."""
        if self.objects is None:
            return "none"
        found = parse_loaded(self.objects)
        assert found
        for wanted in (OLD, NEW, WIDE):
            known = parse_loaded(wanted.objects)
            assert known
            if known.rules == found.rules:
                return wanted.name
        return "others"


@dataclass
class _Notebook:
    world: World

    def read(self) -> Memory:
        return self.world.memory

    def write(self, memory: Memory) -> None:
        self.world.write(memory)

    def lock(self) -> Any:
        return self.world.lock()


def with_old() -> World:
    world = World()
    change.load(world.host, OLD)
    world.steps = 0
    return world


def test_rules_on_approval_are_put_back_when_nobody_confirms() -> None:
    world = with_old()
    change.load_on_approval(world.host, NEW, 60)
    assert (world.rules, world.armed_until) == ("new", 160.0)
    world.wait()
    assert (world.rules, world.memory.pending) == ("old", None)
    assert world.memory.wanted == OLD
    with pytest.raises(
        NothingToDo, match="nobody confirmed in time, so the rules from before are loaded again"
    ):
        change.confirm(world.host)


def test_rules_that_are_confirmed_stay() -> None:
    world = with_old()
    change.load_on_approval(world.host, NEW, 60)
    assert change.confirm(world.host) == NEW
    assert world.armed_until is None
    world.armed_until = 160.0  # as where the timer could not be stopped
    world.wait()
    assert world.rules == "new"
    with pytest.raises(NothingToDo, match="no rules wait to be confirmed"):
        change.confirm(world.host)
    with pytest.raises(NothingToDo):
        change.revert(world.host)


def test_the_first_rules_of_a_host_are_taken_away_again_when_nobody_confirms() -> None:
    world = World()
    change.load_on_approval(world.host, NEW, 60)
    world.wait()
    assert (world.rules, world.memory.wanted) == ("none", None)


def test_a_second_attempt_is_put_back_to_what_was_there_before_the_first_and_has_its_own_time() -> None:
    world = with_old()
    change.load_on_approval(world.host, NEW, 60)
    world.now = 150.0
    change.load_on_approval(world.host, WIDE, 60)
    world.now = 160.0
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        world.now += seconds

    # The timer of the first attempt, where it could not be stopped.
    assert change.revert_when_due(world.host, sleep)
    assert sum(slept) == 50.0
    assert world.rules == "old"


def test_an_admin_may_put_them_back_at_once() -> None:
    world = with_old()
    change.load_on_approval(world.host, NEW, 60)
    assert change.revert(world.host) == OLD
    assert (world.rules, world.armed_until) == ("old", None)


def test_rules_for_good_settle_what_waits() -> None:
    world = with_old()
    change.load_on_approval(world.host, NEW, 60)
    change.load(world.host, WIDE)
    assert (world.rules, world.memory.pending, world.armed_until) == ("wide", None, None)


@pytest.mark.parametrize("waiting", [False, True])
@pytest.mark.parametrize("how", ["dies_at", "fails_at"])
@pytest.mark.parametrize("step", range(1, 13))
def test_wherever_loading_ends_the_old_rules_are_there_or_come_back(
    step: int, how: str, waiting: bool
) -> None:
    world = with_old()
    if waiting:
        change.load_on_approval(world.host, WIDE, 60)
        world.now, world.steps = 130.0, 0
    setattr(world, how, step)
    try:
        change.load_on_approval(world.host, NEW, 60)
        is_done = True
    except (Died, ToolFailed):
        is_done = False
    assert is_done is (world.steps < step)
    if world.rules != "old":
        assert world.memory.pending is not None
        assert world.armed_until is not None
    if how == "fails_at" and not waiting and world.rules == "old":
        assert world.memory.pending is None
    world.wait()
    assert world.rules == "old"
    assert world.memory.pending is None or world.armed_until is None


def test_what_could_not_be_put_back_is_not_replaced_on_approval() -> None:
    world = with_old()
    world.fails_at = 2  # the first is whether the new rules are taken
    with pytest.raises(ToolFailed, match=r"could not be put back .*: load the new rules with --permanent"):
        change.load_on_approval(world.host, NEW, 60)
    assert (world.rules, world.memory.pending) == ("old", None)


# --- what is remembered -----------------------------------------------------------------------------

MEMORY = Memory(NEW, Seconds(5), Pending(7.5, encode(OLD.objects), OLD), put_back=True)


def test_what_is_remembered_is_read_as_it_was_written() -> None:
    assert decode(encode_memory(MEMORY)) == MEMORY
    assert decode(encode_memory(Memory())) == Memory()


@given(st.data())
def test_a_damaged_memory_is_none_or_another_and_never_an_error(data: st.DataObject) -> None:
    small = Memory(Wanted("n", ({"table": {"a": 1}},), {"/p": "d"}), Seconds(5), Pending(7.5, "x", None))
    whole = encode_memory(small)
    at = data.draw(st.integers(0, len(whole) - 1))
    found = decode(whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + data.draw(st.integers(0, 3)) :])
    assert isinstance(found, Memory)


def test_a_notebook_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/abctl").touch()
    with pytest.raises(WriteFailed, match="cannot be written"):
        FileNotebook(tmp_path).write(MEMORY)
    assert FileNotebook(tmp_path).read() == Memory()


# --- status and health ------------------------------------------------------------------------------


@dataclass
class Host:
    """A host made of files, with rules in a kernel that is not there."""

    root: Path
    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        self.policy.parent.mkdir(parents=True)
        self.policy.write_text('base = "hostos"\n')

    @property
    def policy(self) -> Path:
        return self.root / "etc/abctl/firewall.toml"

    def load(self, **changes: Any) -> None:
        digests = {str(self.policy): digest_of(str(self.policy))}
        wanted = replace(NEW, name=str(self.policy), digests=digests, **changes)
        change.load(self.world.host, wanted)
        FileNotebook(self.root).write(self.world.memory)

    def say(self) -> tuple[str, ...] | None:
        standing = find_standing(self.policy.parent, root=self.root, kernel=self.world)
        return None if standing is None else standing.sentences


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_firewall_as_it_should_be_is_not_worth_a_word(host: Host) -> None:
    host.load()
    assert host.say() == ()


def test_a_host_without_a_policy_has_no_firewall_to_speak_of(host: Host) -> None:
    host.policy.unlink()
    assert host.say() is None


def test_a_policy_that_was_never_loaded_is_told(host: Host) -> None:
    assert host.say() == ("the firewall is configured, but abctl has not loaded it in this boot",)


def test_rules_that_are_gone_are_told(host: Host) -> None:
    host.load()
    host.world.objects = None
    (said,) = host.say() or ()
    assert said.startswith("the firewall's rules are gone")


def test_rules_that_were_changed_are_told(host: Host) -> None:
    host.load()
    assert host.world.objects
    del host.world.objects[6]
    (said,) = host.say() or ()
    assert said.startswith("the firewall in the kernel differs in one thing from what was loaded")


def test_a_policy_that_was_changed_since_is_told_and_so_is_a_new_file_of_prefixes(host: Host) -> None:
    host.load()
    prefixes = host.policy.parent / "firewall.d/ic-registry.prefixes"
    prefixes.parent.mkdir()
    prefixes.write_text("2001:db8:17::/64\n")
    assert host.say() == (f"{prefixes} was changed since the firewall was loaded",)
    host.policy.write_text('base = "hostos-wide"\n')
    assert host.say() == (f"{host.policy} was changed since the firewall was loaded",)


def test_rules_of_another_policy_than_the_hosts_are_told(host: Host) -> None:
    change.load(host.world.host, NEW)
    FileNotebook(host.root).write(host.world.memory)
    assert host.say() == (f"the firewall's rules are those of new, not of {host.policy}",)


def test_the_emergency_rules_are_told_with_their_reason(host: Host) -> None:
    host.load(emergency="firewall.toml is not TOML")
    assert host.say() == ("the firewall's emergency rules are loaded, for firewall.toml is not TOML",)


def test_rules_that_wait_are_told_with_the_time_they_have(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.load()
    change.load_on_approval(host.world.host, WIDE, 60)
    FileNotebook(host.root).write(host.world.memory)
    monkeypatch.setattr(clock, "since_boot", lambda: 137.2)
    assert host.say() == ("the firewall's rules wait to be confirmed, and are put back in 23 s",)


def test_the_health_check_fails_by_what_the_release_is_to_blame_for_and_warns_of_the_rest(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def result() -> Verdict:
        standing = find_standing(host.policy.parent, root=host.root, kernel=host.world)
        monkeypatch.setattr(firewall_standing, "find_standing", lambda _: standing)
        found = check_firewall(host.policy.parent)
        monkeypatch.undo()
        assert found.required
        return found.verdict

    assert result() is Verdict.FAILED
    host.load()
    assert result() is Verdict.PASSED
    host.load(problems=("a file of prefixes is left out",))
    assert result() is Verdict.WARNED
    host.load(emergency="no")
    assert result() is Verdict.FAILED
    host.load()
    host.world.objects = None
    assert result() is Verdict.FAILED


def test_of_two_files_that_fill_a_set_the_one_on_the_config_volume_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "volume", tmp_path / "etc"
    for path in (first / "a.prefixes", second / "a.prefixes", second / "b.prefixes", second / "README"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert find_prefix_files(first, second) == {"a": first / "a.prefixes", "b": second / "b.prefixes"}
    assert find_prefix_files(tmp_path / "nowhere") == {}


def test_what_nft_lists_is_checked_before_it_is_believed() -> None:
    for text in ("", "[]", "{}", '{"nftables": 3}', '{"nftables": [[]]}', '{"nftables": [{"rule": 1}]}'):
        with pytest.raises(ValueError, match=r"."):
            list_objects(text)


# --- systemd ----------------------------------------------------------------------------------------


def test_systemd_starts_a_new_timer_before_an_older_one_is_stopped() -> None:
    """So a host is never without one; what the older one starts finds that it is not due."""
    calls: list[tuple[str, ...]] = []

    def run(*command: str, **_: object) -> str:
        calls.append(command)
        return ""

    reverter = SystemdReverter(run)
    reverter.arm(60)
    reverter.arm(90)
    reverter.disarm()
    assert [command[0] for command in calls] == ["systemd-run", "systemd-run", "systemctl"]
    units = [next(word for word in command if word.startswith("--unit=")) for command in calls[:2]]
    assert len(set(units)) == 2
    assert "--on-active=60s" in calls[0]
    assert calls[0][-3:] == ("firewall", "revert", "--when-due")
    pattern = calls[2][-1]
    assert all(fnmatchcase(f"{unit.removeprefix('--unit=')}.timer", pattern) for unit in units)


def test_a_timer_that_cannot_be_stopped_is_no_error() -> None:
    def run(*_: str, **__: object) -> str:
        raise ToolFailed("systemctl is not there")

    SystemdReverter(run).disarm()


def test_a_host_without_systemd_gets_a_process_of_its_own(tmp_path: Path) -> None:
    assert isinstance(make_reverter(tmp_path), DetachedReverter)
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert isinstance(make_reverter(tmp_path), SystemdReverter)
