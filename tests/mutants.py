"""`make mutants`: break the code on purpose, one fault at a time, and see that the tests notice.

Each fault is put into a copy of the tree, where only the tests run that should catch it.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
REPORT = REPOSITORY / "docs/mutants.md"
_AT_ONCE = 2
_TIME_LIMIT = 300  # seconds for the tests of one fault
_PYTEST = ("-m", "pytest", "-x", "-q", "-rfE", "-p", "no:cacheprovider", "-p", "no:randomly")
_IMPORTED_FROM = (
    "import abctl, tests, pathlib; print(*(pathlib.Path(m.__file__).parents[1] for m in (abctl, tests)))"
)

NEXT_BOOT = "tests/test_next_boot.py::"
ON_MACHINE = "tests/test_machine.py::test_"
BAD_INPUT = "tests/test_bad_input.py::"
INSTALL = "tests/test_install.py::"
ENV = "tests/test_bootenv.py::"
DEFECTS = "tests/test_defects.py::test_"
UNSETTLED = "tests/test_unsettled.py::test_"
WHY, KEPT, LOOPS = (f"tests/test_{name}.py::test_" for name in ("why_it_fell_back", "evidence", "loops"))
ON_DISK = "tests/test_defects_on_disk.py::test_"
CHUNKS, FLIPS = "tests/test_chunk_install.py::test_", "tests/test_chunk_flips.py::test_"
POWER_CUTS = "tests/test_kills.py::test_power_cuts_at_random_moments_never_arm_what_is_wrong"
SELECT, STATE, GRUB = "grub/select.cfg", "grub/state.cfg", "grub/grub.cfg"
MACHINE, PERFORM, BOOTENV = "abctl/core/machine.py", "abctl/update/perform.py", "abctl/core/bootenv.py"
SLOTWRITER, DISK = "abctl/update/slotwriter.py", "abctl/host/disk.py"
CHUNK_WRITER, CHUNK_INSTALL = "abctl/update/chunk_writer.py", "abctl/update/chunk_install.py"
EVIDENCE, WITNESS = "abctl/core/evidence.py", "abctl/update/witness.py"
SURVEY, FETCH = "abctl/update/survey.py", "abctl/update/fetch.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A fault: ``old`` stands exactly once in ``file`` and becomes ``new``; ``tests`` should catch it."""

    fault: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """The first test that failed, or None where the fault survived."""

    mutant: Mutant
    caught_by: str | None


MUTANTS = (
    Mutant(
        "an attempt is not saved",
        SELECT,
        'if save_env -f "$prefix/env$1/grubenv" attempts; then',
        "if true; then",
        (f"{DEFECTS}d1_a_trial_falls_back_in_both_directions",),
    ),
    Mutant(
        "whether an attempt was saved is not looked at",
        SELECT,
        '    set attempts=$1\n    [ -n "$saved" ]',
        "    set attempts=$1\n    true",
        (f"{NEXT_BOOT}test_copies_that_grub_cannot_write_are_predicted",),
    ),
    Mutant(
        "attempts stay at 1",
        SELECT,
        'elif [ "$attempts" = 1 ]; then set left=0',
        'elif [ "$attempts" = 1 ]; then set left=1',
        (f"{DEFECTS}a_panic_ends_an_attempt",),
    ),
    Mutant(
        "a test without a space: the primary B is not seen",
        SELECT,
        'if [ "$primary" = B ]; then',
        'if [ "$primary" = "B"]; then',
        (f"{DEFECTS}d1_a_trial_falls_back_in_both_directions",),
    ),
    Mutant(
        "a test without a space: the older system's B is not seen",
        STATE,
        'if [ "$boot_alternative" = B ]; then',
        'if [ "$boot_alternative" = "B"]; then',
        (f"{ON_DISK}grub_alone_boots_what_the_older_system_would_have",),
    ),
    Mutant(
        "GRUB reads only one copy",
        STATE,
        "read_copy 2\nif copy_is_whole; then",
        "read_copy 2\nif false; then",
        (f"{DEFECTS}d7_any_one_copy_may_be_lost",),
    ),
    Mutant(
        "GRUB takes the higher of two counts of attempts",
        STATE,
        'if [ "$attempts_1" -lt "$attempts" ]',
        'if [ "$attempts_1" -gt "$attempts" ]',
        (f"{NEXT_BOOT}test_every_pair_of_attempts_in_two_copies_is_predicted",),
    ),
    Mutant(
        "a slot set that is being written is still a way out",
        SELECT,
        'if [ "$second_state" = empty ]; then set second=; fi',
        "",
        (f"{NEXT_BOOT}test_every_state_is_predicted_whoever_lacks_a_kernel",),
    ),
    Mutant(
        "a trial without a kernel keeps its attempts",
        GRUB,
        "        save_attempts 0\n",
        "        true\n",
        (f"{DEFECTS}a_kernel_that_cannot_be_loaded_gives_way",),
    ),
    Mutant(
        "a panic hangs",
        GRUB,
        " panic=10",
        "",
        (f"{DEFECTS}a_panic_reboots_instead_of_hanging",),
    ),
    Mutant(
        "abctl writes only one copy",
        PERFORM,
        "for copy in writing_order(files):",
        "for copy in writing_order(files)[:1]:",
        (f"{DEFECTS}d7_any_one_copy_may_be_lost",),
    ),
    Mutant(
        "the copy in use is written first",
        BOOTENV,
        "key=lambda copy: _believed_precedence(files[copy]))",
        "key=lambda copy: _believed_precedence(files[copy]), reverse=True)",
        (f"{ENV}test_the_newer_copy_counts_and_the_other_is_written_first",),
    ),
    Mutant(
        "the generation does not go up",
        PERFORM,
        "generation=max(env.generation, highest_generation(files) + 1)",
        "generation=highest_generation(files)",
        (f"{DEFECTS}d7_power_lost_while_confirming_leaves_the_trial_or_the_primary",),
    ),
    Mutant(
        "the checksum covers nothing",
        BOOTENV,
        'if name not in ("attempts", "unsettled", "checksum", "generation_end")',
        "if False",
        (f"{ENV}test_a_damaged_copy_is_not_believed_and_the_reason_is_told",),
    ),
    Mutant(
        "the older system's file is not kept in step",
        PERFORM,
        "if copy is Copy.OLDER and not committed:",
        "if copy is Copy.OLDER:",
        (f"{DEFECTS}d7_other_variables_are_kept",),
    ),
    Mutant(
        "armed before it was written and read back",
        "abctl/update/install.py",
        """\
            written = write_release(payloads, job.work)
            took = time.monotonic() - began
            apply(ports, job.verified(written, took))
""",
        """\
            apply(ports, job.verified(written, took))
            written = write_release(payloads, job.work)
            took = time.monotonic() - began
""",
        (f"{BAD_INPUT}test_a_disk_that_does_not_keep_what_it_is_given_is_never_armed",),
    ),
    Mutant(
        "what is not flushed is put on trial",
        SLOTWRITER,
        "        writer.end_zeros(done)\n        volume.flush()\n",
        "        writer.end_zeros(done)\n",
        (f"{DEFECTS}d6_what_is_on_trial_is_on_the_medium_and_in_no_cache",),
    ),
    Mutant(
        "the head of Boot is written first",
        SLOTWRITER,
        "hold_back = slot.part is Part.BOOT",
        "hold_back = False",
        (f"{INSTALL}test_the_head_of_boot_is_the_last_thing_written",),
    ),
    Mutant(
        "what was read back is not compared",
        SLOTWRITER,
        "if digest.hexdigest() != image.sha256:",
        "if not digest:",
        (f"{DEFECTS}d6_a_disk_that_keeps_something_else_is_noticed",),
    ),
    Mutant(
        "a copy of the boot environment is not compared after its write",
        DISK,
        "if found != data:",
        "if len(found) != len(data):",
        (f"{ON_DISK}a_confirm_is_on_the_medium_before_it_is_said",),
    ),
    Mutant(
        "the digest of a manifest is not compared",
        "abctl/update/directory.py",
        "if digest != sha256:",
        "if not digest:",
        (f"{BAD_INPUT}test_a_manifest_with_the_wrong_hash_is_not_even_parsed",),
    ),
    Mutant(
        "the digest of an archive is not compared",
        "abctl/update/archive.py",
        "if digest != self._sha256:",
        "if not digest:",
        (f"{BAD_INPUT}test_an_archive_from_a_server_with_the_wrong_hash_is_never_armed",),
    ),
    Mutant(
        "the size of a slot is not looked at",
        "abctl/core/plan.py",
        "    if size > slot_size:",
        "    if size < 0:",
        (f"{DEFECTS}d6_an_image_larger_than_its_slot_costs_nothing",),
    ),
    Mutant(
        "a slot set is not made unbootable before it is written",
        PERFORM,
        """\
            volume.write_zeros(0, first)
            volume.flush()
            volume.write_zeros(first, size - first)
""",
        "",
        (
            f"{DEFECTS}d5_a_half_written_slot_set_is_never_booted",
            f"{BAD_INPUT}test_a_full_disk_never_costs_what_runs",
        ),
    ),
    Mutant(
        "installing is allowed while a trial is unconfirmed",
        MACHINE,
        "    if env.trial:\n        trial, release =",
        "    if env.trial and env.trial.slot_set is env.primary:\n        trial, release =",
        (f"{DEFECTS}d3_no_install_while_the_running_slot_set_is_unconfirmed",),
    ),
    Mutant(
        "a trial is confirmed before it was booted",
        MACHINE,
        "    if booted is not trial:",
        "    if booted is None:",
        (f"{DEFECTS}d2_a_trial_that_was_never_booted_cannot_be_confirmed",),
    ),
    Mutant(
        "a mixed system counts as the one that was booted",
        "abctl/core/events.py",
        "if self.kernel is self.root is self.boot:",
        "if self.kernel is self.boot:",
        (f"{DEFECTS}the_right_boot_with_the_wrong_root_confirms_nothing",),
    ),
    Mutant(
        "a refused version is forgotten",
        MACHINE,
        "record = refuse(host, at, trial, reason).with_entry(",
        "record = host.record.with_entry(",
        (f"{DEFECTS}d11_a_version_that_fell_back_is_not_installed_again",),
    ),
    Mutant(
        "a fallback is not recorded",
        MACHINE,
        "if env.trial.attempts == 0:",
        "if env.trial.attempts < 0:",
        (f"{DEFECTS}after_a_fallback_status_and_history_say_so_and_why",),
    ),
    Mutant(
        "a fallback is recorded only after the trial is forgotten",
        MACHINE,
        "return _decide(host, env, record, record_first=True)",
        "return _decide(host, env, record)",
        (f"{ON_MACHINE}the_record_is_written_before_the_state_that_forgets_the_trial",),
    ),
    Mutant(
        "what GRUB said of one trial is held against the next",
        "abctl/core/events.py",
        "if self.running.generation in (None, self.env.generation) else None",
        "if self.env else None",
        (f"{ON_MACHINE}what_grub_said_of_one_trial_does_not_end_the_next",),
    ),
    Mutant(
        "the way back is given up before every copy is known to take a write",
        MACHINE,
        "        WriteBootEnv(proof, every_copy=True),\n",
        "",
        (f"{ON_MACHINE}a_copy_that_cannot_be_written_costs_the_way_back_nothing",),
    ),
    Mutant(
        "a bad primary is kept although the other slot set runs",
        MACHINE,
        " or host.running.booted is bad.other",
        "",
        (f"{ON_MACHINE}a_host_on_its_last_bad_slot_set_can_still_be_upgraded",),
    ),
    Mutant(
        "the older system's file goes ahead of the copies",
        PERFORM,
        "if copy is Copy.OLDER and not committed:",
        "if copy is Copy.OLDER and not files:",
        (f"{ON_MACHINE}the_older_systems_file_never_goes_ahead_of_the_copies",),
    ),
    Mutant(
        "GRUB does not look at the seal of a copy",
        STATE,
        'elif [ "$seal" != "$primary/$trial/$state_A/$state_B" ]; then false',
        'elif [ -z "$seal" ]; then false',
        (f"{NEXT_BOOT}test_a_copy_that_contradicts_its_seal_is_not_taken",),
    ),
    Mutant(
        "GRUB does not count the boots of the primary",
        SELECT,
        'if [ -n "$unsettled" -a "$other_state" != empty ]; then',
        "if false; then",
        (f"{UNSETTLED}a_primary_that_never_comes_up_gives_way_to_the_other_slot_set",),
    ),
    Mutant(
        "a primary without a count is counted",
        SELECT,
        'if [ -n "$unsettled" -a "$other_state" != empty ]; then',
        'if [ "$other_state" != empty ]; then',
        (f"{UNSETTLED}a_system_that_does_not_answer_is_never_counted",),
    ),
    Mutant(
        "an empty slot set has its turn",
        SELECT,
        'if [ -n "$unsettled" -a "$other_state" != empty ]; then',
        'if [ -n "$unsettled" ]; then',
        (f"{NEXT_BOOT}test_every_count_of_boots_is_predicted",),
    ),
    Mutant(
        "a count that could not be saved sends the host away",
        SELECT,
        'if save_count "$count"; then',
        'save_count "$count"; if true; then',
        (f"{NEXT_BOOT}test_a_count_that_grub_cannot_write_is_predicted_and_counts_as_none",),
    ),
    Mutant(
        "a count that the disk drops is taken for saved",
        SELECT,
        'if [ "$unsettled" = "$2" ]; then set saved=1; fi',
        "set saved=1",
        (f"{NEXT_BOOT}test_a_count_that_the_disk_drops_counts_as_none",),
    ),
    Mutant(
        "the turn of the other slot set never ends",
        SELECT,
        'elif [ "$unsettled" = 22221 ]; then set count=22222',
        'elif [ "$unsettled" = 22221 ]; then set count=22221',
        (f"{UNSETTLED}where_neither_comes_up_they_take_turns",),
    ),
    Mutant(
        "GRUB takes the lower of two counts of boots",
        STATE,
        'if [ "$unsettled_1" -gt "$unsettled" ]',
        'if [ "$unsettled_1" -lt "$unsettled" ]',
        (f"{NEXT_BOOT}test_every_pair_of_counts_in_two_copies_is_predicted",),
    ),
    Mutant(
        "a primary that came up is not settled",
        MACHINE,
        "answering=env.answering | {env.primary}, unsettled=0)",
        "answering=env.answering | {env.primary})",
        (f"{UNSETTLED}a_healthy_primary_is_never_left_however_often_it_is_started",),
    ),
    Mutant(
        "what runs instead of a primary that never comes up does not take over",
        MACHINE,
        "if not is_its_turn or running.passed_over",
        "if is_its_turn or running.passed_over",
        (f"{UNSETTLED}a_primary_that_never_comes_up_gives_way_to_the_other_slot_set",),
    ),
    Mutant(
        "a version that gave way twice is taken a third time",
        MACHINE,
        "if host.record.gave_way(env[lost].version):",
        "if False:",
        (f"{UNSETTLED}a_version_may_be_installed_again_once_after_it_gave_way",),
    ),
    Mutant(
        "what is written anew still counts as answering",
        MACHINE,
        "answering=env.answering - {target})",
        "answering=env.answering)",
        (f"{UNSETTLED}what_is_written_anew_answers_no_more",),
    ),
    Mutant(
        "a mixed system answers for its boot",
        MACHINE,
        "if env.trial or running.disagreement or running.kernel is None:",
        "if env.trial or running.kernel is None:",
        (f"{UNSETTLED}only_what_runs_as_the_primary_answers",),
    ),
    Mutant(
        "the health service does not answer",
        "abctl/cli/health_watch.py",
        "            come_up(machine.ports)\n",
        "            pass\n",
        ("tests/test_health_service.py::test_an_ordinary_boot_is_checked_once_and_answers_for_itself",),
    ),
    Mutant(
        "an attempt counts as spent although the disk dropped the write",
        SELECT,
        'if [ "$attempts" = "$2" ]; then set saved=1; fi',
        "set saved=1",
        (f"{NEXT_BOOT}test_a_write_that_the_disk_drops_is_no_write",),
    ),
    Mutant(
        "no lock is taken",
        "abctl/cli/wiring.py",
        "stack.enter_context(lock_machine(target))",
        "pass",
        (f"{ON_DISK}d10_whoever_changes_a_disk_has_it_alone",),
    ),
    Mutant(
        "a chunk that was read back is not compared",
        CHUNK_WRITER,
        "        if not is_right:",
        "        if is_right is None:",
        (f"{FLIPS}a_write_that_lies_is_caught_and_the_chunk_named",),
    ),
    Mutant(
        "chunks are not read back",
        CHUNK_WRITER,
        "            self._workers.submit(self._check_all, places[at : at + _CHECKED_AT_ONCE])",
        "            pass",
        (f"{FLIPS}a_write_that_lies_is_caught_and_the_chunk_named",),
    ),
    Mutant(
        "chunks are not flushed before they are read back",
        CHUNK_WRITER,
        "        self._volume.flush()\n        for at in range",
        "        for at in range",
        (f"{POWER_CUTS}[full-0]", f"{POWER_CUTS}[full-1]"),
    ),
    Mutant(
        "flushes are far between",
        CHUNK_WRITER,
        "FLUSH_EVERY = 8 * MIB",
        "FLUSH_EVERY = 128 * MIB",
        ("tests/test_kills.py::test_a_cut_that_takes_the_whole_cache_costs_no_more_than_32_mib",),
    ),
    Mutant(
        "the head of Boot is written with the other chunks",
        CHUNK_WRITER,
        "min(HEAD_SIZE, index.image_size) if slot.part is Part.BOOT else 0",
        "0",
        (f"{CHUNKS}the_head_of_boot_is_written_after_all_else_was_read_back",),
    ),
    Mutant(
        "the digest of a frame is not compared",
        CHUNK_INSTALL,
        "    if digest != expected:",
        "    if not digest:",
        (f"{FLIPS}a_bit_in_a_frame_of_an_image_is_caught_and_the_chunk_named",),
    ),
    Mutant(
        "what comes out of a seed is believed",
        CHUNK_INSTALL,
        "        if hashlib.sha256(buffer).digest() != self._index.digest_of(chunk):",
        "        if not buffer:",
        (f"{FLIPS}a_bit_in_a_seed_is_mended_by_fetching",),
    ),
    Mutant(
        "chunks that a seed does not make are left out",
        CHUNK_INSTALL,
        "        if not self._missed:\n",
        "        if self._missed:\n",
        (f"{CHUNKS}where_the_seed_differs_the_chunk_is_fetched_in_full_and_a_remark_says_so",),
    ),
    Mutant(
        "falling back is not bounded",
        CHUNK_INSTALL,
        "        self._image.ledger.plan(more, remark)\n",
        "",
        (f"{CHUNKS}falling_back_to_more_than_is_allowed_stops_and_arms_nothing",),
    ),
    Mutant(
        "a delta is fetched to its end, however wrong the seed is",
        CHUNK_INSTALL,
        "return missed + self._made >= _ENOUGH_TO_JUDGE and missed > self._made",
        "return missed < 0",
        (f"{CHUNKS}of_a_delta_whose_seed_is_another_one_most_is_not_even_fetched",),
    ),
    Mutant(
        "a failed write is taken for a bad seed",
        CHUNK_INSTALL,
        "            if chunk in wanted and self._put_if_right(chunk, buffer):\n"
        "                wanted.remove(chunk)\n",
        "            with suppress(WriteProblem):\n"
        "                if chunk in wanted and self._put_if_right(chunk, buffer):\n"
        "                    wanted.remove(chunk)\n",
        (f"{CHUNKS}a_full_disk_is_not_taken_for_a_bad_seed",),
    ),
    Mutant(
        "the survey finds every chunk",
        SURVEY,
        "            if hashlib.sha256(buffer).digest() == self._index.digest_of(chunk):",
        "            if buffer:",
        (f"{CHUNKS}each_way_brings_exactly_the_images_for_the_bytes_of_the_plan",),
    ),
    Mutant(
        "the survey finds nothing, and an installation starts over",
        SURVEY,
        "                self._there[chunk] = 1",
        "                self._there[chunk] = 0",
        (f"{CHUNKS}after_ctrl_c_only_what_was_in_flight_is_fetched_again",),
    ),
    Mutant(
        "the heads count as there although they are about to go",
        SURVEY,
        "range(-(-HEAD_SIZE // index.chunk_size), index.count)",
        "range(index.count)",
        (f"{CHUNKS}what_stands_in_the_slots_already_is_not_fetched_again",),
    ),
    Mutant(
        "what is planned does not add up",
        FETCH,
        "        self.planned += count",
        "        self.planned = count",
        (f"{CHUNKS}more_than_is_allowed_is_refused_before_anything_is_written",),
    ),
    Mutant(
        "what is fetched is not counted",
        FETCH,
        "        self._ledger.fetched += count",
        "        self._ledger.fetched += 0",
        (f"{CHUNKS}each_way_brings_exactly_the_images_for_the_bytes_of_the_plan",),
    ),
    Mutant(
        "a server without ranges costs no more than others",
        "abctl/core/ways.py",
        "    if ranges and not has_ranges:",
        "    if not ranges:",
        (f"{CHUNKS}what_a_server_without_ranges_sends_for_nothing_counts",),
    ),
    Mutant(
        "a slot that is smaller than the seed is taken for one",
        "abctl/update/chunked.py",
        " < self.delta.seed_size:",
        " < 0:",
        (f"{CHUNKS}a_delta_that_does_not_apply_says_why_and_blocks_take_over",),
    ),
    Mutant(
        "an error in a worker is lost",
        "abctl/update/pool.py",
        "            self._error = self._error or error",
        "            pass",
        (f"{FLIPS}a_bit_in_a_frame_of_an_image_is_caught_and_the_chunk_named",),
    ),
    Mutant(
        "a frame that holds too little is taken",
        "abctl/update/zstd.py",
        "        if count != len(out):",
        "        if count > len(out):",
        (f"{CHUNKS}a_frame_that_does_not_fill_the_buffer_is_no_frame",),
    ),
    Mutant(
        "a trial that gives up reboots into a bad primary",
        MACHINE,
        "return env[env.primary].state in (SlotState.GOOD, SlotState.UNTESTED)",
        "return True",
        (f"{LOOPS}with_a_bad_primary_an_unhealthy_trial_stays_up",),
    ),
    Mutant(
        "a trial that gives up reboots into a primary without a kernel",
        MACHINE,
        "if host.running.passed_over is env.primary:\n        return False",
        "",
        (f"{LOOPS}a_trial_that_is_all_that_can_be_booted_stays_up",),
    ),
    Mutant(
        "a trial that stays up is on trial for ever",
        MACHINE,
        "replace(env, trial=None, outcome=Outcome.STAYED_UP)\n        .with_primary(trial)",
        "replace(env, outcome=Outcome.STAYED_UP)",
        (f"{LOOPS}with_a_bad_primary_an_unhealthy_trial_stays_up",),
    ),
    Mutant(
        "a mixed system that gives up becomes the primary",
        MACHINE,
        "env.trial is not None and not running.disagreement and",
        "env.trial is not None and",
        (f"{LOOPS}only_a_running_trial_beside_a_primary_that_may_do_better_reboots",),
    ),
    Mutant(
        "a bad slot set is overwritten although nothing remembers that it was bad",
        "abctl/core/refusing.py",
        "WriteRecord(record, must_stand=True)",
        "WriteRecord(record)",
        (f"{LOOPS}without_a_record_two_bad_releases_are_not_taken_in_turn",),
    ),
    Mutant(
        "a reason that is longer than the record takes is recorded at every boot",
        MACHINE,
        "replace(record.entries[-1], at=at, text=reason) != entry",
        "replace(record.entries[-1], at=at) != entry",
        (f"{WHY}where_the_boot_environment_cannot_be_written_one_entry_is_enough",),
    ),
    Mutant(
        "marks of another trial count",
        WITNESS,
        "if mark.generation == generation)",
        "if True)",
        (f"{WHY}a_kernel_without_a_mark_is_not_taken_for_one_of_another_trial",),
    ),
    Mutant(
        "a trial whose generation changed loses its evidence",
        WITNESS,
        "known.renumber(before.env.generation, after.env.generation)",
        "known",
        (f"{WHY}a_trial_keeps_its_evidence_when_a_copy_of_the_boot_environment_is_mended",),
    ),
    Mutant(
        "a panic is given to the boot that finds it",
        "abctl/core/explain.py",
        "attempt.number < before",
        "attempt.number <= before",
        (f"{WHY}a_panic_belongs_to_the_boot_before_the_one_that_finds_it",),
    ),
    Mutant(
        "a panic from before the trial is taken for its own",
        WITNESS,
        "if log.at >= since or log.at < BUILT_AT",
        "if True",
        (f"{WHY}a_panic_from_before_the_trial_is_not_its_own",),
    ),
    Mutant(
        "a config volume that cannot be written stops a boot",
        WITNESS,
        'log.warning("how far the trial got could not be noted: %s", error)',
        "raise",
        (f"{WHY}without_a_config_volume_a_trial_ends_all_the_same",),
    ),
    Mutant(
        "a stage that was reached is forgotten",
        EVIDENCE,
        "stage = max(stage, known.stage, key=lambda item: item.rank)",
        "",
        (f"{KEPT}a_stage_that_was_reached_stays_reached",),
    ),
    Mutant(
        "evidence is always written to the same half",
        EVIDENCE,
        "return FORM.place_for(evidence.serial)",
        "return 0",
        (f"{KEPT}a_cut_costs_at_most_the_last_note",),
    ),
    Mutant(
        "evidence that does not fit is not shortened",
        EVIDENCE,
        "        if half is not None:\n            return half\n        evidence = _shorten(evidence)",
        "        return half or b''",
        (f"{KEPT}however_much_is_said_it_fits_and_the_stages_stay",),
    ),
    Mutant(
        "the parts of a crash log are put together the wrong way round",
        "abctl/core/crash_log.py",
        "lines + last.lines",
        "last.lines + lines",
        (f"{KEPT}the_parts_of_a_panic_are_put_in_order",),
    ),
)


def main() -> int:
    """Try every fault two at a time, and write the report; return 1 where one survives."""
    began = time.monotonic()
    for mutant in MUTANTS:
        found = (REPOSITORY / mutant.file).read_text().count(mutant.old)
        if found != 1:
            sys.exit(f"mutants: {mutant.file} has {mutant.old!r} {found} times, not once: {mutant.fault}")
    tests = sorted({test for mutant in MUTANTS for test in mutant.tests})
    sound = Mutant("none", "README.md", "", "", tuple(tests))
    with (
        tempfile.TemporaryDirectory(prefix="abctl-mutants-") as folder,
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        baseline = pool.submit(_try, sound, Path(folder) / "sound")
        tried = pool.map(_try, MUTANTS, (Path(folder) / str(n) for n in range(len(MUTANTS))))
        results = [_tell(result) for result in tried]
    if baseline.result().caught_by:
        sys.exit(f"mutants: {baseline.result().caught_by} fails without any fault: mend it first")
    REPORT.write_text(_describe(results))
    survived = [result for result in results if result.caught_by is None]
    print(f"{len(results)} faults, {len(survived)} survived; {time.monotonic() - began:.0f} s; {REPORT.name}")
    return 1 if survived else 0


def _try(mutant: Mutant, tree: Path) -> Result:
    """Put the fault into a copy of the tree, and run its tests there."""
    _copy_tree(tree)
    if mutant.old:
        path = tree / mutant.file
        path.write_text(path.read_text().replace(mutant.old, mutant.new))
    places = _run(tree, "-c", _IMPORTED_FROM).stdout.split()
    assert places == [str(tree.resolve())] * 2, f"the tests would run {places} and not {tree}"
    done = _run(tree, *_PYTEST, *mutant.tests)
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1) or bool(failed) != bool(done.returncode):
        sys.exit(f"mutants: pytest itself failed: {mutant.fault}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    shutil.rmtree(tree)
    return Result(mutant, failed[1] if failed else None)


def _copy_tree(tree: Path) -> None:
    """Copy what git knows, and what is new and not ignored."""
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, tree / name)


def _run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=_TIME_LIMIT,
        check=False,
    )


def _tell(result: Result) -> Result:
    print(f"{'caught  ' if result.caught_by else 'SURVIVED'}  {result.mutant.fault}", flush=True)
    return result


def _describe(results: list[Result]) -> str:
    """Return the report in Markdown."""
    caught = sum(result.caught_by is not None for result in results)
    rows = [
        f"| {result.mutant.fault} | `{result.mutant.file}` | {_name_test(result.caught_by)} |"
        for result in results
    ]
    return (
        f"# Faults put in on purpose\n\n`make mutants` puts {len(results)} faults into copies of the tree, "
        f"one at a time, and runs the tests that should notice: {caught} were caught.\n\n"
        "| fault | file | first test that failed |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _name_test(test: str | None) -> str:
    # The pipe would end a cell.
    return f"`{test.partition('[')[0].removeprefix('tests/')}`" if test else "none: it SURVIVED"


if __name__ == "__main__":
    sys.exit(main())
