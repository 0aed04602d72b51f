"""Releases that fail in every way that a release can fail: the host comes back by itself and says why."""

from collections.abc import Sequence

import pytest

from abctl.core.bootstate import Why
from tests.lab.claims import assert_fell_back
from tests.lab.conftest import Lab
from tests.lab.machine import Machine
from tests.lab.variants import (
    BAD_INITRAMFS,
    CHECK_FAILS,
    CHECK_HANGS,
    NO_ROOT,
    REBOOTS,
    SILENT,
    USERLAND_HANGS,
    Variant,
)

pytestmark = pytest.mark.timeout(3600)
_LIMIT = 2400.0  # seconds for three boots that come to nothing, and one that does


def assert_comes_back(
    lab: Lab, release: Variant, stages: Sequence[str], *words: str, attempts: int = 3
) -> Machine:
    """All attempts are spent on it, and then the host runs what it ran before."""
    host = lab.host(release, attempts=attempts)
    host.power_on()
    host.wait_booted("A", Why.FALLBACK, _LIMIT)
    assert host.story.names == [*["B trial"] * attempts, "A fallback"]
    # Attempts that were spent without a kernel left no mark.
    assert_fell_back(host, release.version, [*["grub"] * (3 - attempts), *stages], *words)
    return host


def test_damaged_initramfs(lab: Lab) -> None:
    assert_comes_back(lab, BAD_INITRAMFS, ["grub"] * 3, "3 attempts")


def test_root_that_does_not_mount(lab: Lab) -> None:
    assert_comes_back(lab, NO_ROOT, ["kernel"] * 3, "3 attempts")


def test_userland_that_hangs(lab: Lab) -> None:
    """A job before sysinit.target never ends: systemd's own timer ends the trial."""
    assert_comes_back(lab, USERLAND_HANGS, ["userland"], "time was up", attempts=1)


def test_init_that_says_nothing(lab: Lab) -> None:
    """There is no systemd at all: the watchdog that the initramfs armed ends it."""
    assert_comes_back(lab, SILENT, ["kernel"], attempts=1)


def test_health_check_fails_three_times(lab: Lab) -> None:
    words = ("3 attempts", "lab-guest", "the guest does not answer")
    assert_comes_back(lab, CHECK_FAILS, ["checks"] * 3, *words)


def test_health_check_hangs(lab: Lab) -> None:
    assert_comes_back(lab, CHECK_HANGS, ["checks"], "lab-guest", attempts=1)


def test_trial_that_reboots_by_itself(lab: Lab) -> None:
    assert_comes_back(lab, REBOOTS, ["userland"] * 3, "3 attempts")
