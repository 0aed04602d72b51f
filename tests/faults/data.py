"""Faults in the data path."""

from tests.faults.mutant import Mutant

_BAD_INPUT = "tests/test_bad_input.py::"
_INSTALL = "tests/test_install.py::"
_DEFECTS = "tests/test_defects.py::test_"
_CHUNKS = "tests/test_chunk_install.py::test_"
_FLIPS = "tests/test_chunk_flips.py::test_"
_POWER_CUTS = "tests/test_kills.py::test_power_cuts_at_random_moments_never_arm_what_is_wrong"
_SLOTWRITER = "abctl/update/slotwriter.py"
_CHUNK_WRITER = "abctl/update/chunk_writer.py"
_CHUNK_INSTALL = "abctl/update/chunk_install.py"
_SURVEY = "abctl/update/survey.py"
_FETCH = "abctl/update/fetch.py"

MUTANTS = (
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
        (f"{_BAD_INPUT}test_a_disk_that_does_not_keep_what_it_is_given_is_never_armed",),
    ),
    Mutant(
        "what is not flushed is put on trial",
        _SLOTWRITER,
        "        writer.end_zeros(done)\n        volume.flush()\n",
        "        writer.end_zeros(done)\n",
        (f"{_DEFECTS}d6_what_is_on_trial_is_on_the_medium_and_in_no_cache",),
    ),
    Mutant(
        "the head of Boot is written first",
        _SLOTWRITER,
        "hold_back = slot.part is Part.BOOT",
        "hold_back = False",
        (f"{_INSTALL}test_the_head_of_boot_is_the_last_thing_written",),
    ),
    Mutant(
        "what was read back is not compared",
        _SLOTWRITER,
        "if digest.hexdigest() != image.sha256:",
        "if not digest:",
        (f"{_DEFECTS}d6_a_disk_that_keeps_something_else_is_noticed",),
    ),
    Mutant(
        "the digest of a manifest is not compared",
        "abctl/update/directory.py",
        "if digest != sha256:",
        "if not digest:",
        (f"{_BAD_INPUT}test_a_manifest_with_the_wrong_hash_is_not_even_parsed",),
    ),
    Mutant(
        "the digest of an archive is not compared",
        "abctl/update/archive.py",
        "if digest != self._sha256:",
        "if not digest:",
        (f"{_BAD_INPUT}test_an_archive_from_a_server_with_the_wrong_hash_is_never_armed",),
    ),
    Mutant(
        "the size of a slot is not looked at",
        "abctl/core/plan.py",
        "    if size > slot_size:",
        "    if size < 0:",
        (f"{_DEFECTS}d6_an_image_larger_than_its_slot_costs_nothing",),
    ),
    Mutant(
        "a chunk that was read back is not compared",
        _CHUNK_WRITER,
        "        if not is_right:",
        "        if is_right is None:",
        (f"{_FLIPS}a_write_that_lies_is_caught_and_the_chunk_named",),
    ),
    Mutant(
        "chunks are not read back",
        _CHUNK_WRITER,
        "            self._workers.submit(self._check_all, places[at : at + _CHECKED_AT_ONCE])",
        "            pass",
        (f"{_FLIPS}a_write_that_lies_is_caught_and_the_chunk_named",),
    ),
    Mutant(
        "chunks are not flushed before they are read back",
        _CHUNK_WRITER,
        "        self._volume.flush()\n        for at in range",
        "        for at in range",
        (f"{_POWER_CUTS}[full-0]", f"{_POWER_CUTS}[full-1]"),
    ),
    Mutant(
        "flushes are far between",
        _CHUNK_WRITER,
        "FLUSH_EVERY = 8 * MIB",
        "FLUSH_EVERY = 128 * MIB",
        ("tests/test_kills.py::test_a_cut_that_takes_the_whole_cache_costs_no_more_than_32_mib",),
    ),
    Mutant(
        "the head of Boot is written with the other chunks",
        _CHUNK_WRITER,
        "min(HEAD_SIZE, index.image_size) if slot.part is Part.BOOT else 0",
        "0",
        (f"{_CHUNKS}the_head_of_boot_is_written_after_all_else_was_read_back",),
    ),
    Mutant(
        "the digest of a frame is not compared",
        _CHUNK_INSTALL,
        "    if digest != expected:",
        "    if not digest:",
        (f"{_FLIPS}a_bit_in_a_frame_of_an_image_is_caught_and_the_chunk_named",),
    ),
    Mutant(
        "what comes out of a seed is believed",
        _CHUNK_INSTALL,
        "        if hashlib.sha256(buffer).digest() != self._index.digest_of(chunk):",
        "        if not buffer:",
        (f"{_FLIPS}a_bit_in_a_seed_is_mended_by_fetching",),
    ),
    Mutant(
        "chunks that a seed does not make are left out",
        _CHUNK_INSTALL,
        "        if not self._missed:\n",
        "        if self._missed:\n",
        (f"{_CHUNKS}where_the_seed_differs_the_chunk_is_fetched_in_full_and_a_remark_says_so",),
    ),
    Mutant(
        "falling back is not bounded",
        _CHUNK_INSTALL,
        "        self._image.ledger.plan(more, remark)\n",
        "",
        (f"{_CHUNKS}falling_back_to_more_than_is_allowed_stops_and_arms_nothing",),
    ),
    Mutant(
        "a delta is fetched to its end, however wrong the seed is",
        _CHUNK_INSTALL,
        "return missed + self._made >= _ENOUGH_TO_JUDGE and missed > self._made",
        "return missed < 0",
        (f"{_CHUNKS}of_a_delta_whose_seed_is_another_one_most_is_not_even_fetched",),
    ),
    Mutant(
        "a failed write is taken for a bad seed",
        _CHUNK_INSTALL,
        "            if chunk in wanted and self._put_if_right(chunk, buffer):\n"
        "                wanted.remove(chunk)\n",
        "            with suppress(WriteProblem):\n"
        "                if chunk in wanted and self._put_if_right(chunk, buffer):\n"
        "                    wanted.remove(chunk)\n",
        (f"{_CHUNKS}a_full_disk_is_not_taken_for_a_bad_seed",),
    ),
    Mutant(
        "the survey finds every chunk",
        _SURVEY,
        "            if hashlib.sha256(buffer).digest() == self._index.digest_of(chunk):",
        "            if buffer:",
        (f"{_CHUNKS}each_way_brings_exactly_the_images_for_the_bytes_of_the_plan",),
    ),
    Mutant(
        "the survey finds nothing, and an installation starts over",
        _SURVEY,
        "                self._there[chunk] = 1",
        "                self._there[chunk] = 0",
        (f"{_CHUNKS}after_ctrl_c_only_what_was_in_flight_is_fetched_again",),
    ),
    Mutant(
        "the heads count as there although they are about to go",
        _SURVEY,
        "range(-(-HEAD_SIZE // index.chunk_size), index.count)",
        "range(index.count)",
        (f"{_CHUNKS}what_stands_in_the_slots_already_is_not_fetched_again",),
    ),
    Mutant(
        "what is planned does not add up",
        _FETCH,
        "        self.planned += count",
        "        self.planned = count",
        (f"{_CHUNKS}more_than_is_allowed_is_refused_before_anything_is_written",),
    ),
    Mutant(
        "what is fetched is not counted",
        _FETCH,
        "        self._ledger.fetched += count",
        "        self._ledger.fetched += 0",
        (f"{_CHUNKS}each_way_brings_exactly_the_images_for_the_bytes_of_the_plan",),
    ),
    Mutant(
        "a server without ranges costs no more than others",
        "abctl/core/ways.py",
        "    if ranges and not has_ranges:",
        "    if not ranges:",
        (f"{_CHUNKS}what_a_server_without_ranges_sends_for_nothing_counts",),
    ),
    Mutant(
        "a slot that is smaller than the seed is taken for one",
        "abctl/update/chunked.py",
        " < self.delta.seed_size:",
        " < 0:",
        (f"{_CHUNKS}a_delta_that_does_not_apply_says_why_and_blocks_take_over",),
    ),
    Mutant(
        "an error in a worker is lost",
        "abctl/update/pool.py",
        "            self._error = self._error or error",
        "            pass",
        (f"{_FLIPS}a_bit_in_a_frame_of_an_image_is_caught_and_the_chunk_named",),
    ),
    Mutant(
        "a frame that holds too little is taken",
        "abctl/update/zstd.py",
        "        if count != len(out):",
        "        if count > len(out):",
        (f"{_CHUNKS}a_frame_that_does_not_fill_the_buffer_is_no_frame",),
    ),
)
