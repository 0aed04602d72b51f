"""The list of jobs as a file of the config volume."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from abctl.agent import jobs
from abctl.agent.jobs import Jobs
from abctl.core.jobs_file import FORM
from abctl.ports import ConfigFile


class ConfigJobs:
    """The jobs; implements desk.JobStore. ``lock`` keeps the agent and the processes of jobs apart."""

    def __init__(self, file: ConfigFile, lock: Callable[[], AbstractContextManager[None]]) -> None:
        self._file = file
        self._lock = lock

    def read(self) -> Jobs:
        return jobs.decode(self._file.read())

    def change(self, change: Callable[[Jobs], Jobs]) -> Jobs:
        with self._lock():
            known = self.read()
            wanted = change(known)
            if wanted != known:
                wanted = replace(wanted, serial=known.serial + 1)
                self._file.overwrite(FORM.place_for(wanted.serial), jobs.encode_half(wanted))
            return wanted
