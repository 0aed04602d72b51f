"""abctl firewall as an admin meets it: real processes, and a kernel of its own in a network namespace."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.packets import HOST_4, Link, link
from tests.test_cli import ABCTL, Said, assert_fails

pytestmark = pytest.mark.slow

NOTHING_TO_DO, BAD, TOOL_FAILED, USAGE, DIFFERENT = 29, 67, 17, 2, 3
_WAIT_MAX = 60.0  # seconds
SSH_ONLY = """
[[rules]]
direction = "input"
protocol = "tcp"
ports = [22]
from = ["rfc1918"]
"""


@dataclass
class Host:
    """A host in a namespace, with a configuration and a /run of its own."""

    cable: Link
    etc: Path

    def command(self, *arguments: str | Path) -> list[str]:
        return self.cable.host.command(ABCTL, "--config", self.etc, "firewall", *arguments)

    def abctl(self, *arguments: str | Path, **environment: str) -> Said:
        done = subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environment},
        )
        assert "Traceback" not in done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    def write(self, text: str, name: str = "firewall.toml") -> Path:
        path = self.etc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    @property
    def has_rules(self) -> bool:
        return self.cable.read() is not None

    @property
    def memory(self) -> Any:
        return json.loads(self.cable.host.run("cat", "/run/abctl/firewall.json"))


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + _WAIT_MAX
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def cable() -> Iterator[Link]:
    with link() as made:
        yield made


@pytest.fixture
def host(cable: Link, tmp_path: Path) -> Host:
    cable.host.run("nft", "flush", "ruleset")
    cable.host.run("rm", "-rf", "/run/abctl")
    made = Host(cable, tmp_path / "etc")
    made.write(SSH_ONLY)
    return made


# --- on approval ------------------------------------------------------------------------------------


def test_rules_are_put_back_though_the_session_that_loaded_them_is_killed(host: Host) -> None:
    """All processes of the session die at once, as when a connection is cut and its host cleans up."""
    command = host.command("apply", "--for", "5")
    with subprocess.Popen(
        ["sh", "-c", '"$@"; exec sleep 600', "sh", *command],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    ) as session:
        wait_until(lambda: host.has_rules)
        os.killpg(session.pid, signal.SIGKILL)
    wait_until(lambda: not host.has_rules)
    assert_fails(host.abctl("confirm"), NOTHING_TO_DO, "nobody confirmed in time, so the rules from before")


def test_rules_that_are_confirmed_stay_when_their_time_is_over(host: Host) -> None:
    said = host.abctl("apply", "--for", "5", "--json")
    assert said.json("firewall-apply")["seconds"] == 5
    assert host.memory["pending"]
    assert host.abctl("confirm").out == f"The rules of {host.etc}/firewall.toml stay.\n"
    # What would put them back ends by itself when it wakes up.
    wait_until(lambda: not list_processes("revert --when-due"))
    assert host.has_rules
    assert_fails(host.abctl("confirm"), NOTHING_TO_DO, "no rules wait to be confirmed")
    assert_fails(host.abctl("revert"), NOTHING_TO_DO, "no rules wait to be confirmed")


def list_processes(words: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        found += [line] if words in line else []
    return found


def test_an_admin_puts_the_rules_back_at_once_and_they_are_those_from_before(host: Host) -> None:
    assert host.abctl("apply", "--permanent").code == 0
    assert host.abctl("diff").code == 0
    assert host.abctl("apply", "--policy", "hostos", "--for", "600").code == 0
    assert host.abctl("diff").code == DIFFERENT
    assert host.abctl("revert").out == f"The rules of {host.etc}/firewall.toml are loaded again.\n"
    assert host.abctl("diff").code == 0
    for line in list_processes("revert --when-due"):
        assert "600" not in line


def test_a_policy_that_is_wrong_changes_nothing(host: Host) -> None:
    assert host.abctl("apply", "--permanent").code == 0
    before = host.cable.host.run("nft", "list", "ruleset")
    host.write("[[rules]]\nports = [22]\n")
    for command in ("apply", "check", "show", "diff"):
        assert_fails(host.abctl(command), BAD, "rules.0.direction: Field required")
    assert host.cable.host.run("nft", "list", "ruleset") == before


# --- at boot ----------------------------------------------------------------------------------------


def test_at_boot_the_policy_of_the_host_is_loaded_for_good_with_what_fills_its_sets(host: Host) -> None:
    host.write('base = "hostos"\n')
    host.write("2001:db8:17::/64\n", "firewall.d/ic-registry.prefixes")
    assert host.abctl("apply", "--boot") == Said(0, "", "")
    assert host.memory["pending"] is None
    explained = host.abctl("explain", "tcp from 2001:db8:17::5 to port 9100", "--json").json(
        "firewall-explain"
    )
    assert explained["action"] == "accept"
    assert host.abctl("diff").code == 0
    assert host.abctl("apply", "--boot").code == 0
    assert host.abctl("diff").code == 0


def test_at_boot_a_file_of_prefixes_that_is_wrong_is_left_out_and_said(host: Host) -> None:
    host.write('base = "hostos"\n')
    host.write("2001:db8::/32\n", "firewall.d/ic-registry.prefixes")
    host.write("nonsense\n", "firewall.d/host-prefix.prefixes")
    said = host.abctl("apply", "--boot")
    assert said.code == 0
    assert "ic-registry.prefixes is left out" in said.err
    assert "host-prefix.prefixes is not sound: line 1" in said.err
    assert len(host.memory["wanted"]["problems"]) == 2
    assert host.has_rules


@pytest.mark.parametrize(
    "text", ["rules = [", '[[rules]]\ndirection = "input"\nfrom = ["any"]\n', 'base = "gone"\n']
)
def test_at_boot_a_policy_that_is_wrong_leaves_a_host_that_is_closed_and_can_be_reached(
    host: Host, text: str
) -> None:
    host.write(text)
    host.write("2001:db8:17::/64\n", "firewall.d/host-prefix.prefixes")
    assert_fails(host.abctl("apply", "--boot"), BAD)
    assert host.memory["wanted"]["emergency"]
    rules = host.cable.host.run("nft", "list", "chain", "inet", "abctl", "input")
    assert "policy drop" in rules
    assert "ip6 saddr 2001:db8:17::/64 tcp dport 22" in rules
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"):
        assert f"ip saddr {network} tcp dport 22" in rules
    assert "9100" not in rules


def test_the_emergency_rules_take_no_prefix_that_a_policy_would_refuse_as_too_wide(host: Host) -> None:
    host.write("rules = [")
    host.write("::/0\n2001:db8:17::/64\n0.0.0.0/0\n192.0.2.0/24\n", "firewall.d/host-prefix.prefixes")
    said = host.abctl("apply", "--boot")
    assert "::/0 in " in said.err
    assert "is left out: it is wider than /64" in " ".join(said.err.split())
    rules = host.cable.host.run("nft", "list", "chain", "inet", "abctl", "input")
    assert "ip6 saddr 2001:db8:17::/64 tcp dport 22" in rules
    assert "ip saddr 192.0.2.0/24 tcp dport 22" in rules
    assert "::/0" not in rules
    assert "0.0.0.0/0" not in rules


# --- what is said -----------------------------------------------------------------------------------


def test_check_says_what_is_sound_and_warns_of_a_lock_out(host: Host) -> None:
    assert "comes to" in host.abctl("check").out
    report = host.abctl("check", "--json").json("firewall-check")
    assert (report["kernel"], report["remarks"]) == (True, [])
    host.write(SSH_ONLY.replace("22", "2222"))
    report = host.abctl("check", "--json", SSH_CONNECTION=f"10.1.2.3 40000 {HOST_4} 22").json(
        "firewall-check"
    )
    assert "no rule admits SSH" in report["remarks"][0]
    assert "your own SSH session, from 10.1.2.3 to port 22, could not be opened again" in report["remarks"][1]


def test_show_and_diff_tell_what_the_kernel_has(host: Host) -> None:
    report = host.abctl("diff", "--json").json("firewall-diff")
    assert (report["loaded"], report["same"]) == (False, False)
    assert host.abctl("show", "--json").json("firewall")["loaded"] is False
    assert host.abctl("apply", "--permanent").code == 0
    report = host.abctl("show", "--json").json("firewall")
    assert report["loaded"] is True
    assert all(rule["packets"] is not None for rule in report["rules"])
    host.cable.host.run("nft", "insert", "rule", "inet", "abctl", "input", "accept")
    report = host.abctl("diff", "--json").json("firewall-diff")
    assert [item["kind"] for item in report["differences"]] == ["extra"]
    assert "not wanted, rule 1: input: accept everything" in host.abctl("diff").out


def test_a_wrong_command_line_is_told(host: Host) -> None:
    for arguments, said in (
        (["explain", "tcp from 10.1.2.3"], "say the port that it goes to"),
        (["check", "--set", "host-prefix"], "write NAME=PREFIX"),
        (["check", "--set", "who=10.1.0.0/16"], "has no such set; it has host-prefix, link-local, rfc1918"),
        (["check", "--set", "host-prefix=10.1.0.1/16"], "is not a prefix"),
        (["apply", "--for", "1"], "5<=x<=3600"),
    ):
        found = host.abctl(*arguments)
        assert found.code == USAGE
        assert said in found.err
    assert_fails(
        host.abctl("check", "--policy", "nowhere"), BAD, "there is no policy nowhere: give a TOML file"
    )
    assert_fails(host.abctl("check", "--policy", "/nowhere.toml"), BAD, "/nowhere.toml cannot be read")


def test_without_rights_a_policy_is_checked_all_the_same(host: Host) -> None:
    """As where an image is built."""
    rights = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    done = subprocess.run(
        host.cable.host.command(*rights, *(ABCTL, "firewall", "check", "--policy", "hostos", "--json")),
        capture_output=True,
        text=True,
        check=False,
    )
    report = Said(done.returncode, done.stdout, done.stderr).json("firewall-check")
    assert report["kernel"] is False
    assert report["kernel_problem"] == "nft may not do this: run as root"
