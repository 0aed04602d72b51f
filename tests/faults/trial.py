"""Faults in why a trial ended."""

from tests.faults.mutant import Mutant

_WHY = "tests/test_why_it_fell_back.py::test_"
_KEPT = "tests/test_evidence.py::test_"
_EVIDENCE = "abctl/core/evidence.py"
_WITNESS = "abctl/update/witness.py"

MUTANTS = (
    Mutant(
        "marks of another trial count",
        _WITNESS,
        "if mark.generation == generation)",
        "if True)",
        (f"{_WHY}a_kernel_without_a_mark_is_not_taken_for_one_of_another_trial",),
    ),
    Mutant(
        "a trial whose generation changed loses its evidence",
        _WITNESS,
        "known.renumber(before.env.generation, after.env.generation)",
        "known",
        (f"{_WHY}a_trial_keeps_its_evidence_when_a_copy_of_the_boot_environment_is_mended",),
    ),
    Mutant(
        "a panic is given to the boot that finds it",
        "abctl/core/explain.py",
        "attempt.number < before",
        "attempt.number <= before",
        (f"{_WHY}a_panic_belongs_to_the_boot_before_the_one_that_finds_it",),
    ),
    Mutant(
        "a panic from before the trial is taken for its own",
        _WITNESS,
        "if log.at >= since or log.at < BUILT_AT",
        "if True",
        (f"{_WHY}a_panic_from_before_the_trial_is_not_its_own",),
    ),
    Mutant(
        "a config volume that cannot be written stops a boot",
        _WITNESS,
        'log.warning("how far the trial got could not be noted: %s", error)',
        "raise",
        (f"{_WHY}without_a_config_volume_a_trial_ends_all_the_same",),
    ),
    Mutant(
        "a stage that was reached is forgotten",
        _EVIDENCE,
        "stage = max(stage, known.stage, key=lambda item: item.rank)",
        "",
        (f"{_KEPT}a_stage_that_was_reached_stays_reached",),
    ),
    Mutant(
        "evidence is always written to the same half",
        _EVIDENCE,
        "return FORM.place_for(evidence.serial)",
        "return 0",
        (f"{_KEPT}a_cut_costs_at_most_the_last_note",),
    ),
    Mutant(
        "evidence that does not fit is not shortened",
        _EVIDENCE,
        "        if half is not None:\n            return half\n        evidence = _shorten(evidence)",
        "        return half or b''",
        (f"{_KEPT}however_much_is_said_it_fits_and_the_stages_stay",),
    ),
    Mutant(
        "the parts of a crash log are put together the wrong way round",
        "abctl/core/crash_log.py",
        "lines + last.lines",
        "last.lines + lines",
        (f"{_KEPT}the_parts_of_a_panic_are_put_in_order",),
    ),
)
