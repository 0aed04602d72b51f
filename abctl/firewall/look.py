"""How the firewall of a host stands: what ``abctl status`` and the health check say of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from abctl.firewall.drift import find_drift
from abctl.firewall.loaded import Loaded, parse_loaded
from abctl.firewall.state import Memory


@dataclass(frozen=True, slots=True)
class Standing:
    """``broken`` says why the host does not have the rules it should have; ``remarks`` what else there is."""

    broken: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        return (*([self.broken] if self.broken else []), *self.remarks)


@dataclass(frozen=True, slots=True)
class Files:
    """What is on the disk: ``policy`` is the name of the host's own, empty where it has none.

    ``made_of`` are the files that it is made of now. ``digest_of`` returns the digest of a file, empty where
    it is gone.
    """

    digest_of: Callable[[str], str]
    policy: str = ""
    made_of: Sequence[str] = ()


def judge(memory: Memory, found: Loaded | None, files: Files, *, since_boot: float) -> Standing:
    """Return how a host stands where a firewall is configured, or was loaded."""
    if memory.wanted is None:
        return Standing("the firewall is configured, but abctl has not loaded it in this boot")
    if memory.wanted.emergency:
        return Standing(f"the firewall's emergency rules are loaded, for {memory.wanted.emergency}")
    wanted = parse_loaded(memory.wanted.objects)
    assert wanted is not None
    drift = find_drift(wanted, found)
    if found is None:
        return Standing("the firewall's rules are gone: somebody else removed the table inet abctl")
    remarks = [*memory.wanted.problems]
    if files.policy and memory.wanted.name != files.policy and not memory.pending:
        remarks.append(f"the firewall's rules are those of {memory.wanted.name}, not of {files.policy}")
    if drift:
        remarks.append(_say_drift(len(drift)))
    if changed := _find_changed(memory.wanted.digests, files):
        remarks.append(f"{changed} was changed since the firewall was loaded")
    if memory.pending:
        left = max(0, round(memory.pending.deadline - since_boot))
        remarks.append(f"the firewall's rules wait to be confirmed, and are put back in {left} s")
    return Standing(remarks=tuple(remarks))


def _say_drift(count: int) -> str:
    what = "one thing" if count == 1 else f"{count} things"
    return (
        f"the firewall in the kernel differs in {what} from what was loaded: 'abctl firewall diff' says which"
    )


def _find_changed(digests: Mapping[str, str], files: Files) -> str:
    """Return the first file that is not as it was, or that is new."""
    for path in dict.fromkeys((*digests, *files.made_of)):
        if files.digest_of(path) != digests.get(path, ""):
            return path
    return ""
