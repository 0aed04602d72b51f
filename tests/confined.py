"""Sources whose bytes a confined process fetches, for tests that also hold for HttpSource."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from abctl.host.fetching import Fetching
from abctl.host.remote import FetchWorker, RemoteSource, as_settings


@dataclass
class Workers:
    """Processes that fetch, one for all sources with the same settings: starting one takes a while."""

    stack: ExitStack
    running: dict[str, FetchWorker] = field(default_factory=dict)

    def source(self, url: str, fetching: Fetching | None = None) -> RemoteSource:
        """Return what HttpSource would be, from a confined process."""
        fetching = fetching or Fetching()
        proxies = sorted(item for item in os.environ.items() if item[0].lower().endswith("_proxy"))
        key = json.dumps([as_settings(fetching), proxies])
        if key not in self.running:
            self.running[key] = self.stack.enter_context(FetchWorker(fetching))
        source = self.running[key].source(url, fetching.mirrors)
        source.fetching = fetching
        return source


@contextmanager
def confined_workers() -> Iterator[Workers]:
    with ExitStack() as stack:
        yield Workers(stack)


def find_processes(port: int) -> set[int]:
    """Return which processes have a connection to this port of this machine."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in rows if row[2] == f"0100007F:{port:04X}"}
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if inodes & {str(link.readlink()) for link in (folder / "fd").iterdir()}:
                found.add(int(folder.name))
        except OSError:
            continue
    return found


def wait_for(condition: Callable[[], object], seconds: float = 10) -> None:
    """Return as soon as the condition holds; fail where it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
