"""Faults in what decides, and how the boot environment is written."""

from tests.faults.mutant import Mutant

_ON_MACHINE = "tests/test_machine.py::test_"
_BAD_INPUT = "tests/test_bad_input.py::"
_ENV = "tests/test_bootenv.py::"
_DEFECTS = "tests/test_defects.py::test_"
_UNSETTLED = "tests/test_unsettled.py::test_"
_WHY = "tests/test_why_it_fell_back.py::test_"
_LOOPS = "tests/test_loops.py::test_"
_ON_DISK = "tests/test_defects_on_disk.py::test_"
_GRUB = "grub/grub.cfg"
_MACHINE = "abctl/core/machine.py"
_PERFORM = "abctl/update/perform.py"
_BOOTENV = "abctl/core/bootenv.py"
_SETTLING = "abctl/core/settling.py"
_BLOCK = "abctl/host/block.py"

MUTANTS = (
    Mutant(
        "abctl writes only one copy",
        _PERFORM,
        "for copy in writing_order(files):",
        "for copy in writing_order(files)[:1]:",
        (f"{_DEFECTS}d7_any_one_copy_may_be_lost",),
    ),
    Mutant(
        "the copy in use is written first",
        _BOOTENV,
        "key=lambda copy: _believed_precedence(files[copy]))",
        "key=lambda copy: _believed_precedence(files[copy]), reverse=True)",
        (f"{_ENV}test_the_newer_copy_counts_and_the_other_is_written_first",),
    ),
    Mutant(
        "the generation does not go up",
        _PERFORM,
        "generation=max(env.generation, highest_generation(files) + 1)",
        "generation=highest_generation(files)",
        (f"{_DEFECTS}d7_power_lost_while_confirming_leaves_the_trial_or_the_primary",),
    ),
    Mutant(
        "the checksum covers nothing",
        _BOOTENV,
        'if name not in ("attempts", "unsettled", "checksum", "generation_end")',
        "if False",
        (f"{_ENV}test_a_damaged_copy_is_not_believed_and_the_reason_is_told",),
    ),
    Mutant(
        "the older system's file is not kept in step",
        _PERFORM,
        "if copy is Copy.OLDER and not committed:",
        "if copy is Copy.OLDER:",
        (f"{_DEFECTS}d7_other_variables_are_kept",),
    ),
    Mutant(
        "a copy of the boot environment is not compared after its write",
        _BLOCK,
        "if found != data:",
        "if len(found) != len(data):",
        (f"{_ON_DISK}a_confirm_is_on_the_medium_before_it_is_said",),
    ),
    Mutant(
        "a slot set is not made unbootable before it is written",
        _PERFORM,
        """\
            volume.write_zeros(0, first)
            volume.flush()
            volume.write_zeros(first, size - first)
""",
        "",
        (
            f"{_DEFECTS}d5_a_half_written_slot_set_is_never_booted",
            f"{_BAD_INPUT}test_a_full_disk_never_costs_what_runs",
        ),
    ),
    Mutant(
        "installing is allowed while a trial is unconfirmed",
        _MACHINE,
        "    if env.trial:\n        trial, release =",
        "    if env.trial and env.trial.slot_set is env.primary:\n        trial, release =",
        (f"{_DEFECTS}d3_no_install_while_the_running_slot_set_is_unconfirmed",),
    ),
    Mutant(
        "a trial is confirmed before it was booted",
        _MACHINE,
        "    if booted is not trial:",
        "    if booted is None:",
        (f"{_DEFECTS}d2_a_trial_that_was_never_booted_cannot_be_confirmed",),
    ),
    Mutant(
        "a mixed system counts as the one that was booted",
        "abctl/core/events.py",
        "if self.kernel is self.root is self.boot:",
        "if self.kernel is self.boot:",
        (f"{_DEFECTS}the_right_boot_with_the_wrong_root_confirms_nothing",),
    ),
    Mutant(
        "a refused version is forgotten",
        _SETTLING,
        "record = refuse(host, at, trial, reason).with_entry(",
        "record = host.record.with_entry(",
        (f"{_DEFECTS}d11_a_version_that_fell_back_is_not_installed_again",),
    ),
    Mutant(
        "a fallback is not recorded",
        _SETTLING,
        "if env.trial.attempts == 0:",
        "if env.trial.attempts < 0:",
        (f"{_DEFECTS}after_a_fallback_status_and_history_say_so_and_why",),
    ),
    Mutant(
        "a fallback is recorded only after the trial is forgotten",
        _SETTLING,
        "return decide(host, env, record, record_first=True)",
        "return decide(host, env, record)",
        (f"{_ON_MACHINE}the_record_is_written_before_the_state_that_forgets_the_trial",),
    ),
    Mutant(
        "what GRUB said of one trial is held against the next",
        "abctl/core/events.py",
        "if self.running.generation in (None, self.env.generation) else None",
        "if self.env else None",
        (f"{_ON_MACHINE}what_grub_said_of_one_trial_does_not_end_the_next",),
    ),
    Mutant(
        "the way back is given up before every copy is known to take a write",
        _MACHINE,
        "        WriteBootEnv(proof, every_copy=True),\n",
        "",
        (f"{_ON_MACHINE}a_copy_that_cannot_be_written_costs_the_way_back_nothing",),
    ),
    Mutant(
        "a bad primary is kept although the other slot set runs",
        _MACHINE,
        " or host.running.booted is bad.other",
        "",
        (f"{_ON_MACHINE}a_host_on_its_last_bad_slot_set_can_still_be_upgraded",),
    ),
    Mutant(
        "the older system's file goes ahead of the copies",
        _PERFORM,
        "if copy is Copy.OLDER and not committed:",
        "if copy is Copy.OLDER and not files:",
        (f"{_ON_MACHINE}the_older_systems_file_never_goes_ahead_of_the_copies",),
    ),
    Mutant(
        "a primary that came up is not settled",
        _SETTLING,
        "answering=env.answering | {env.primary}, unsettled=0)",
        "answering=env.answering | {env.primary})",
        (f"{_UNSETTLED}a_healthy_primary_is_never_left_however_often_it_is_started",),
    ),
    Mutant(
        "what runs instead of a primary that never comes up does not take over",
        _SETTLING,
        "if not is_its_turn or running.passed_over",
        "if is_its_turn or running.passed_over",
        (f"{_UNSETTLED}a_primary_that_never_comes_up_gives_way_to_the_other_slot_set",),
    ),
    Mutant(
        "a version that gave way twice is taken a third time",
        _SETTLING,
        "if host.record.gave_way(env[lost].version):",
        "if False:",
        (f"{_UNSETTLED}a_version_may_be_installed_again_once_after_it_gave_way",),
    ),
    Mutant(
        "what is written anew still counts as answering",
        _MACHINE,
        "answering=env.answering - {target})",
        "answering=env.answering)",
        (f"{_UNSETTLED}what_is_written_anew_answers_no_more",),
    ),
    Mutant(
        "a mixed system answers for its boot",
        _SETTLING,
        "if env.trial or running.disagreement or running.kernel is None:",
        "if env.trial or running.kernel is None:",
        (f"{_UNSETTLED}only_what_runs_as_the_primary_answers",),
    ),
    Mutant(
        "the health service does not answer",
        "abctl/cli/health_watch.py",
        "            come_up(machine.ports)\n",
        "            pass\n",
        ("tests/test_health_service.py::test_an_ordinary_boot_is_checked_once_and_answers_for_itself",),
    ),
    Mutant(
        "no lock is taken",
        "abctl/cli/wiring.py",
        "stack.enter_context(lock_machine(target))",
        "pass",
        (f"{_ON_DISK}d10_whoever_changes_a_disk_has_it_alone",),
    ),
    Mutant(
        "a trial that gives up reboots into a bad primary",
        _SETTLING,
        "return env[env.primary].state in (SlotState.GOOD, SlotState.UNTESTED)",
        "return True",
        (f"{_LOOPS}with_a_bad_primary_an_unhealthy_trial_stays_up",),
    ),
    Mutant(
        "a trial that gives up reboots into a primary without a kernel",
        _SETTLING,
        "if host.running.passed_over is env.primary:\n        return False",
        "",
        (f"{_LOOPS}a_trial_that_is_all_that_can_be_booted_stays_up",),
    ),
    Mutant(
        "a trial that stays up is on trial for ever",
        _SETTLING,
        "replace(env, trial=None, outcome=Outcome.STAYED_UP)\n        .with_primary(trial)",
        "replace(env, outcome=Outcome.STAYED_UP)",
        (f"{_LOOPS}with_a_bad_primary_an_unhealthy_trial_stays_up",),
    ),
    Mutant(
        "a mixed system that gives up becomes the primary",
        _SETTLING,
        "if env.trial is None or running.disagreement or must_reboot(host):",
        "if env.trial is None or must_reboot(host):",
        (f"{_LOOPS}only_a_running_trial_beside_a_primary_that_may_do_better_reboots",),
    ),
    Mutant(
        "a bad slot set is overwritten although nothing remembers that it was bad",
        "abctl/core/refusing.py",
        "WriteRecord(record, must_stand=True)",
        "WriteRecord(record)",
        (f"{_LOOPS}without_a_record_two_bad_releases_are_not_taken_in_turn",),
    ),
    Mutant(
        "a reason that is longer than the record takes is recorded at every boot",
        _SETTLING,
        "replace(record.entries[-1], at=at, text=reason) != entry",
        "replace(record.entries[-1], at=at) != entry",
        (f"{_WHY}where_the_boot_environment_cannot_be_written_one_entry_is_enough",),
    ),
)
