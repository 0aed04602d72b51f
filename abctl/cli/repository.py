"""The signed repository of a host: its configuration, its mirrors, and what it offers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from abctl.core.clock import judge_clock
from abctl.core.config import Unsigned
from abctl.core.consider import Considered, Reason, Vantage, consider
from abctl.core.events import Settle
from abctl.core.machine import transition
from abctl.core.release import MANIFEST_NAME, ReleaseKind
from abctl.core.trust_state import TrustState
from abctl.core.units import Seconds, Version
from abctl.errors import BadConfig, NoRepository, Untrusted, WriteFailed
from abctl.host.config import DEFAULT_FOLDER, HostConfig, read_config
from abctl.host.fetching import SYSTEM_CAS, Fetching
from abctl.ports import Offer, Source
from abctl.update.operate import observe

if TYPE_CHECKING:
    from abctl.cli.wiring import Machine, Target
    from abctl.host.remote import FetchWorker
    from abctl.update.refresh import Refreshed
    from abctl.update.trust import Offered

log = logging.getLogger(__name__)

Tell = Callable[[str], None]
_REMEMBER_EVERY = 3600  # seconds between two notes of when was checked, where nothing else is new


def read_host_config(target: Target) -> HostConfig:
    """Return the configuration that the user named, or that of this host; raise BadConfig."""
    return read_config(target.config or DEFAULT_FOLDER, must_exist=target.config is not None)


def check_unsigned_allowed(target: Target) -> None:
    """Raise Untrusted where an admin may not install what nobody signed.

    A disk that runs nowhere has no configuration but the one that is named with it.
    """
    if target.disk and not target.config:
        return
    config = read_host_config(target)
    if config.config.unsigned.allow is Unsigned.NEVER:
        raise Untrusted(
            "this host installs only what is signed: take 'abctl upgrade [VERSION]', or write 'allow = "
            f'"admin"\' under [unsigned] in {config.folder / "config.toml"}'
        )


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check came to: each release that is on offer, and what speaks against it."""

    refreshed: Refreshed
    vantage: Vantage
    considered: tuple[Considered, ...]
    clock: str | None
    place: str

    def offered(self, version: Version) -> Offered:
        found = self.refreshed.offering.find(version)
        assert found is not None
        return found


class Repository:
    """The repository that this host trusts, over one mirror or several."""

    def __init__(self, config: HostConfig, mirrors: Sequence[str], fetching: Fetching) -> None:
        """Remember where it is; raise NoRepository where no mirror is known."""
        self._config = config
        self._mirrors = tuple(mirrors) or config.config.repository.mirrors
        self._fetching = replace(
            fetching,
            trusted=_choose_trusted(config, fetching),
            proxy=fetching.proxy or config.config.repository.proxy,
        )
        if not self._mirrors:
            raise NoRepository(
                f"no repository is configured: name its mirrors in {config.folder / 'config.toml'}, or one "
                "with --repository"
            )

    def check(
        self,
        machine: Machine,
        tell: Tell,
        *,
        remember: bool,
        wanted: Version | None = None,
        overrides: frozenset[Reason] = frozenset(),
    ) -> Findings:
        """Return what is on offer; with ``remember`` what was seen is kept on the host.

        Raise SourceProblem, or BadRelease where metadata is not to be trusted.
        """
        from abctl.host.checked import run_check  # noqa: PLC0415
        from abctl.update.refresh import Anchor  # noqa: PLC0415 - python-tuf takes long to load

        clock = machine.ports.now()
        keeper = _Keeper(machine, clock, active=remember)
        anchor = Anchor(self._config.read_root(), clock, run_check)
        sources = [self._source((mirror,), "") for mirror in self._mirrors]
        refreshed = anchor.refresh(sources, keeper.state, keeper.keep, wanted)
        for setback in refreshed.setbacks:
            tell(f"{setback}; going on with the next mirror")
        offering = refreshed.offering
        recalled = {item.version: item.reason for item in offering.policy.recalled}
        keeper.keep(replace(refreshed.state, checked_at=offering.now, recalled=recalled))
        host, _ = transition(observe(machine.ports).host, Settle(clock))
        rollout = self._config.config.rollout
        vantage = Vantage(
            host,
            machine.layout.name,
            offering.now,
            rollout.host_id or keeper.state.host_id,
            rollout.place,
        )
        terms = [item.terms for item in offering.releases]
        return Findings(
            refreshed,
            vantage,
            consider(terms, offering.policy, vantage, overrides),
            judge_clock(clock, offering.signed),
            sources[refreshed.mirror].place,
        )

    def offers(self, findings: Findings, version: Version) -> tuple[Offer, ...]:
        """Return the release with this version as each mirror has it, the one that answered first."""
        sha256 = findings.offered(version).sha256
        first = findings.refreshed.mirror
        orders = [self._mirrors[at:] + self._mirrors[:at] for at in range(len(self._mirrors))]
        return tuple(
            Offer(
                self._source(mirrors, f"targets/{version}/"),
                MANIFEST_NAME,
                ReleaseKind.DIRECTORY,
                sha256,
                version,
            )
            for mirrors in orders[first:] + orders[:first]
        )

    def _source(self, mirrors: Sequence[str], below: str) -> Source:
        first, *others = (_join(mirror, below) for mirror in mirrors)
        if _is_local(first):
            from abctl.host.source import FolderSource  # noqa: PLC0415

            return FolderSource(Path(unquote(urlsplit(first).path)))
        # A folder is no mirror of a server; it has an offer of its own.
        return self._worker.folder(first, tuple(url for url in others if not _is_local(url)))

    @cached_property
    def _worker(self) -> FetchWorker:
        from abctl.host.remote import FetchWorker  # noqa: PLC0415

        return FetchWorker(self._fetching)


def _is_local(url: str) -> bool:
    return urlsplit(url).scheme == "file"


class _Keeper:
    """Keeps what is trusted on the host, as far as that can be written."""

    def __init__(self, machine: Machine, now: Seconds, *, active: bool) -> None:
        self._machine = machine
        self._now = now
        self._active = active
        self._kept = machine.trust.read()
        self.state = self._kept.with_host_id()

    def keep(self, state: TrustState) -> None:
        self.state = replace(state, host_id=self.state.host_id)
        if not self._active or not self._is_news():
            return
        try:
            self._machine.trust.write(self.state)
        except WriteFailed as error:
            # An upgrade that is signed must not wait for this; replays are noticed by their dates then.
            log.warning("what was seen of the repository cannot be kept: %s", error)
            self._active = False
            return
        self._kept = self._machine.trust.read()
        self.state = replace(self.state, serial=self._kept.serial)

    def _is_news(self) -> bool:
        before, now = self._kept.checked_at or 0, self.state.checked_at or 0
        if abs(now - before) >= _REMEMBER_EVERY:
            return True
        same = replace(self.state, checked_at=self._kept.checked_at, serial=self._kept.serial)
        return same != self._kept


def _choose_trusted(config: HostConfig, fetching: Fetching) -> Path:
    """Return the CAs: those of the command line, else those of the configuration; raise BadConfig."""
    if config.ca_file is None or fetching.trusted != SYSTEM_CAS:
        return fetching.trusted
    if not config.ca_file.is_file():
        # Without it the system's CAs would count, which the admin did not want.
        raise BadConfig(
            f"{config.ca_file} does not exist, and {config.folder / 'config.toml'} names it as ca_file: put "
            "the certificates of the CAs there"
        )
    return config.ca_file


def _join(url: str, below: str) -> str:
    return f"{url if url.endswith('/') else url + '/'}{below}"


def say_objections(item: Considered) -> str:
    """Return what stands against a release, in one clause."""
    return "; ".join(objection.sentence for objection in item.standing)
