"""Faults in the agent."""

from tests.faults.mutant import Mutant

_POLICY, _SERVER, _JOBS = "abctl/agent/policy.py", "abctl/agent/server.py", "abctl/agent/jobs.py"
_ON_POLICY, _ON_SERVER = "tests/test_agent_policy.py::test_", "tests/test_agent_server.py::test_"
_ON_JOBS = "tests/test_agent_jobs.py::test_"

MUTANTS = (
    Mutant(
        "a guest is who it says it is",
        _POLICY,
        "        if sender_cid != cid:",
        "        if sender_cid < 0:",
        (f"{_ON_SERVER}the_kernel_s_word_counts_and_not_the_guest_s",),
    ),
    Mutant(
        "a guest that is not listed may ask",
        _POLICY,
        "if cid != HOST_CID and not self._rules.is_guest(cid):",
        "if cid < 0:",
        (f"{_ON_POLICY}a_guest_that_is_not_listed_may_ask_nothing_at_all",),
    ),
    Mutant(
        "what a single guest may ask is not looked at",
        _POLICY,
        "command not in self._rules.commands_of(cid)",
        "command not in self._rules.commands",
        (f"{_ON_POLICY}a_single_guest_may_be_allowed_less_or_more",),
    ),
    Mutant(
        "what nobody signed is installed for a guest without leave",
        _POLICY,
        "isinstance(message, UpgradeFromUrl) and not self._rules.unsigned",
        "isinstance(message, UpgradeFromUrl) and self._rules.unsigned is None",
        (f"{_ON_SERVER}an_upgrade_from_a_url_needs_leave_and_is_a_job_then",),
    ),
    Mutant(
        "requests are not counted",
        _SERVER,
        "wait = self._gate.count(cid, time.monotonic())",
        "wait = 0.0",
        (f"{_ON_SERVER}a_guest_that_asks_too_often_is_slowed_down_and_others_are_not",),
    ),
    Mutant(
        "one guest may have all connections",
        _SERVER,
        "self._connections[cid] >= self._limits.connections_each",
        "self._connections[cid] < 0",
        (f"{_ON_SERVER}a_guest_has_so_many_connections_and_others_have_theirs",),
    ),
    Mutant(
        "half a request is waited for without end",
        _SERVER,
        "            async with asyncio.timeout(self._limits.request):",
        "            async with asyncio.timeout(None):",
        (f"{_ON_SERVER}who_says_half_a_request_and_waits_is_told_so",),
    ),
    Mutant(
        "a request may be of any length",
        "abctl/agent/protocol.py",
        "        if len(self._data) >= MESSAGE_MAX:",
        "        if not self._data:",
        (f"{_ON_SERVER}a_megabyte_is_refused_and_its_sender_gets_to_know",),
    ),
    Mutant(
        "a guest sees the jobs of another one",
        _JOBS,
        "if job.id == job_id and cid in (job.cid, HOST_CID)]",
        "if job.id == job_id]",
        (f"{_ON_SERVER}another_guest_learns_nothing_of_a_job",),
    ),
    Mutant(
        "two upgrades are under way at once",
        _JOBS,
        "if any(known.is_open for known in self.jobs):",
        "if any(known.is_over and known.is_open for known in self.jobs):",
        (f"{_ON_JOBS}while_one_upgrade_is_under_way_there_is_no_other",),
    ),
    Mutant(
        "a guest may start upgrades without end",
        _JOBS,
        "if job.cid != HOST_CID and len(recent) >= per_hour:",
        "if len(recent) < 0:",
        (f"{_ON_JOBS}a_guest_may_start_so_many_in_an_hour_and_others_still_may",),
    ),
    Mutant(
        "the trial of another version is taken for the job's",
        _JOBS,
        "if entry.what in _ENDS and entry.version == job.version:",
        "if entry.what in _ENDS:",
        (f"{_ON_JOBS}what_became_of_another_version_or_an_earlier_trial_is_not_taken_for_it",),
    ),
    Mutant(
        "a job whose process died runs for ever",
        _JOBS,
        "    if job.is_open and not is_alive:",
        "    if job.is_open and is_alive:",
        (f"{_ON_JOBS}a_process_that_died_in_the_middle_has_failed_and_says_what_to_do",),
    ),
    Mutant(
        "the older half of the list of jobs counts",
        _JOBS,
        "return max(found, key=lambda jobs: jobs.serial, default=Jobs())",
        "return min(found, key=lambda jobs: jobs.serial, default=Jobs())",
        (f"{_ON_JOBS}a_torn_write_costs_the_last_change_and_no_more",),
    ),
)
