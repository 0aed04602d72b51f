"""doctor: is all of it as it has to be, and what mends what is not."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import NoReturn

import click

from abctl.cli.doctor_checks import CHECKS, Check, Where, examine
from abctl.cli.doctor_patient import Patient
from abctl.cli.options import json_option
from abctl.cli.render_explain import render_findings
from abctl.cli.report_explain import DoctorReport, FindingReport
from abctl.cli.show import show
from abctl.cli.wiring import Target, lock_machine
from abctl.core.doctor import Finding, Verdict, worst
from abctl.errors import AbctlError, NotAHost

_FAULT = 3  # exit code


@click.command(short_help="Check all that a host depends on.")
@click.option("--repair", is_flag=True, help="Mend what loses nothing, and say what was done.")
@click.option("--all", "every", is_flag=True, help="Say of each check that is ok what it found, too.")
@json_option
@click.pass_obj
def doctor(target: Target, repair: bool, every: bool, as_json: bool) -> NoReturn:
    """Check all that the host depends on, and name what is wrong with the command that mends it.

    Each check ends with ok, warning, fault or unknown; the worst is told first. Exit code 3 where there is a
    fault. Without --repair nothing is changed. With it, the boot environment is written anew from what is
    whole, GRUB's scripts are put back, logical volumes of a disk image that are lost are made where they
    were, missing files of the config volume are made, and damaged settings are taken from their last good
    copy. What stands in a slot is never touched.

    \b
    Examples:
      abctl doctor
      abctl doctor --repair
      abctl --disk host.img doctor --json
    """
    with ExitStack() as stack:
        if repair:
            stack.enter_context(lock_machine(target))
        done = tuple(_examine_all(target, repair=repair))
    report = DoctorReport(
        disk=target.name,
        verdict=worst(finding for _, finding, _ in done),
        findings=tuple(_describe(check, finding, repaired) for check, finding, repaired in done),
    )
    show(report, partial(render_findings, every=every), as_json=as_json)
    sys.exit(_FAULT if report.verdict is Verdict.FAULT else 0)


Done = tuple[str, Finding, str | None]


def _examine_all(target: Target, *, repair: bool) -> Iterator[Done]:
    patient = Patient(target)
    wanted = [check for check in CHECKS if patient.is_live or check.where is Where.ANYWHERE]
    before = {check.name: finding for check, finding in _examine(wanted, patient)}
    repaired = _repair(wanted, before, patient) if repair else {}
    if repaired:
        before = {check.name: finding for check, finding in _examine(wanted, Patient(target))}
    for check in wanted:
        if check.name in before:
            yield check.name, before[check.name], repaired.get(check.name)


def _examine(checks: list[Check], patient: Patient) -> Iterator[tuple[Check, Finding]]:
    """Make the checks; where the disk cannot be opened, one finding says why and only some are made."""
    try:
        _ = patient.machine
    except NotAHost:
        raise
    except AbctlError as error:
        first, *others = checks
        yield first, Finding(Verdict.FAULT, str(error))
        checks = [check for check in others if check.alone]
    for check in checks:
        yield check, examine(check, patient)


def _repair(checks: list[Check], found: dict[str, Finding], patient: Patient) -> dict[str, str]:
    """Repair what can be, in the order of the checks; return what was done, or why it could not be."""
    done = {}
    for check in checks:
        finding = found.get(check.name)
        if check.repair is None or finding is None or not finding.can_repair:
            continue
        try:
            done[check.name] = check.repair(patient)
        except AbctlError as error:
            done[check.name] = f"nothing, for it failed: {error}"
        # What comes next has to see it.
        patient = Patient(patient.target)
    return done


def _describe(name: str, finding: Finding, repaired: str | None) -> FindingReport:
    return FindingReport(
        name=name,
        verdict=finding.verdict,
        sentence=finding.sentence,
        command=finding.command,
        repaired=repaired,
    )
