"""The short set, `make lab`: a host is born, upgrades, meets bad releases and loses power."""

import pytest

from abctl.core.bootstate import Why
from tests.lab.claims import assert_fell_back, assert_whole
from tests.lab.conftest import Lab
from tests.lab.events import Phase
from tests.lab.variants import CHECK_FAILS, FIRST, GOOD, NO_KERNEL, PANICS

pytestmark = pytest.mark.timeout(1800)


def test_first_boot(lab: Lab) -> None:
    host = lab.host()
    word = host.boot()
    assert (word.slot_set, word.why) == ("A", Why.PRIMARY)
    assert_whole(host, "A", FIRST)
    status = host.status()
    assert (status["verdict"], status["booted"], status["trial"]) == ("ok", "A", None)
    host.abctl("health --json").check()
    assert host.run("cat /run/motd.d/50-abctl").code != 0, "a healthy host has nothing to say at a login"
    host.measure()
    host.shut_down()
    assert host.story.names == ["A primary"]


def test_upgrade_and_confirm(lab: Lab) -> None:
    host = lab.host(server=lab.serve())
    host.boot()
    host.settle()
    offers = host.abctl("check --json").check().json
    assert GOOD.version in str(offers)
    report = host.abctl(f"upgrade {GOOD.version} --no-reboot --quiet --json").check().json
    assert report["version"] == GOOD.version
    host.start_command("systemctl reboot")
    word = host.wait_up()
    assert (word.slot_set, word.why) == ("B", Why.TRIAL)
    host.wait_confirmed("B")
    assert_whole(host, "B", GOOD.version)
    status = host.status()
    assert (status["verdict"], status["booted"], status["primary"]) == ("ok", "B", "B")
    assert host.history()[-1] == "confirmed"
    host.measure()
    host.shut_down()
    assert host.story.names == ["A primary", "B trial"]
    assert host.boot().why is Why.PRIMARY
    host.settle()
    assert host.status()["booted"] == "B"


def test_missing_kernel(lab: Lab) -> None:
    host = lab.host(NO_KERNEL)
    word = host.boot()
    assert (word.slot_set, word.why, word.passed_over) == ("A", Why.NO_KERNEL, "B")
    assert_fell_back(host, NO_KERNEL.version, ["grub"], "kernel")
    assert host.story.names == ["A no_kernel"]


def test_kernel_panic(lab: Lab) -> None:
    host = lab.host(PANICS)
    host.power_on()
    host.wait_booted("A", Why.FALLBACK, 900)
    assert host.story.names == ["B trial", "B trial", "B trial", "A fallback"]
    assert_fell_back(host, PANICS.version, ["kernel"] * 3, "3 attempts")
    evidence = host.abctl("evidence --json").check().json
    tail = evidence["trials"][-1]["boots"][-1]["tail"]
    assert any("Attempted to kill init" in line for line in tail), tail


def test_health_check_fails(lab: Lab) -> None:
    host = lab.host(CHECK_FAILS, attempts=1)
    assert host.boot().slot_set == "B"
    host.wait_booted("A", Why.FALLBACK, 900)
    assert_fell_back(
        host, CHECK_FAILS.version, ["grub", "grub", "checks"], "lab-guest", "the guest does not answer"
    )


def test_power_cut_during_the_trial_boot(lab: Lab) -> None:
    host = lab.host(GOOD)
    host.power_on()
    host.wait_phase(Phase.KERNEL)
    host.power_cut()
    host.power_on()
    host.wait_phase(Phase.USERLAND)
    host.power_cut()
    assert host.boot().slot_set == "B"
    host.wait_confirmed("B")
    assert host.story.names == ["B trial"] * 3
    assert_whole(host, "B", GOOD.version)
    assert host.status()["verdict"] == "ok"


def test_rollback_by_an_admin(lab: Lab) -> None:
    host = lab.host(GOOD)
    host.boot()
    host.wait_confirmed("B")
    host.abctl("rollback").check()
    host.start_command("systemctl reboot")
    word = host.wait_up()
    assert (word.slot_set, word.why) == ("A", Why.PRIMARY)
    host.settle()
    status = host.status()
    assert (status["booted"], status["primary"]) == ("A", "A")
    assert status["last_upgrade"]["outcome"] == "rolled_back"
    assert_whole(host, "A", FIRST)
