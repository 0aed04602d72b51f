"""How the firewall stands, for ``abctl status`` and the health checks; reads no policy: that takes long."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from abctl.core.health import CheckResult, Verdict, judge
from abctl.errors import AbctlError
from abctl.firewall import look
from abctl.firewall.change import Filter, read_loaded
from abctl.firewall.state import Memory, decode, encode
from abctl.host import clock
from abctl.host.firewall_files import (
    DEFAULT_FOLDER,
    POLICY_NAME,
    KeptFile,
    digest_of,
    find_prefix_files,
    prefix_folders,
)
from abctl.host.nft import Nft

CHECK = "firewall"


class FileNotebook:
    """What is remembered of the firewall, in a file below /run; implements firewall.change.Notebook."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._file = KeptFile(root)

    def read(self) -> Memory:
        return decode(self._file.read())

    def write(self, memory: Memory) -> None:
        self._file.write(encode(memory))

    def lock(self) -> AbstractContextManager[None]:
        return self._file.lock()


def find_standing(
    folder: Path = DEFAULT_FOLDER, *, root: Path = Path("/"), kernel: Filter | None = None
) -> look.Standing | None:
    """Return how the firewall stands; None where none is configured in ``folder`` and none was loaded.

    Raise ToolFailed where the kernel cannot be asked.
    """
    policy = folder / POLICY_NAME
    memory = FileNotebook(root).read()
    if memory.wanted is None and not policy.exists():
        return None
    name = str(policy) if policy.exists() else ""
    files = look.Files(digest_of, name, _files_of(memory, policy, folder))
    return look.judge(memory, read_loaded(kernel or Nft()), files, since_boot=clock.since_boot())


def _files_of(memory: Memory, policy: Path, folder: Path) -> list[str]:
    """Return the files that the host's policy is made of now, where it is that which was loaded."""
    if memory.wanted is None or memory.wanted.name != str(policy):
        return []
    folders = prefix_folders(folder, with_config_volume=folder == DEFAULT_FOLDER)
    return [str(policy), *map(str, find_prefix_files(*folders).values())]


def warn_of_firewall(folder: Path = DEFAULT_FOLDER) -> Iterator[str]:
    """Yield what ``abctl status`` has to say: nothing where all is as it should be."""
    try:
        standing = find_standing(folder)
    except AbctlError as error:
        yield f"how the firewall stands is not known: {error}"
        return
    if standing is not None:
        yield from standing.sentences


def check_firewall(folder: Path = DEFAULT_FOLDER) -> CheckResult:
    """Does the kernel have the rules that it should have?

    Rules that are not loaded, or the emergency rules, are a fault of the release; anything else may be the
    work of an admin or of another program, and only warns.
    """
    standing = find_standing(folder)
    if standing is None:
        return judge(CHECK, None, required=True, said="no firewall is configured")
    if standing.broken:
        return judge(CHECK, standing.broken, required=True)
    if standing.remarks:
        return CheckResult(CHECK, True, Verdict.WARNED, "; ".join(standing.remarks))
    return judge(CHECK, None, required=True, said="the kernel has the rules that were loaded")
