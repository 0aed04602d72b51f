"""Install a release: prove what can be proven, write, read back, and only then put it on trial.

A refusal, and everything wrong with a local release, comes out before the first write. What a server
sends is proven while it streams; until then nothing of it can be booted. The single commit
point is one write of the boot environment, after the last byte was read back.
"""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn

from abctl.core.bootenv import SlotState, read_boot_env
from abctl.core.events import Host, InstallFailed, InstallStarted, InstallVerified, Settle
from abctl.core.machine import check_install, transition
from abctl.core.plan import (
    InstallPlan,
    SlotSizes,
    make_archive_plan,
    make_plan,
    plan_release,
    with_archive_contents,
    with_ways,
)
from abctl.core.release import INSTALLED_PARTS, ReleaseKind
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import MIB, Bytes, Digest, Version
from abctl.errors import AbctlError, BadManifest, Interrupted, StateUnwritable, Untrusted
from abctl.ports import Offer, Slots, Unpack
from abctl.update.archive import ArchiveRelease
from abctl.update.chunked import Seeds
from abctl.update.decompress import unpack_here
from abctl.update.directory import DirectoryRelease, fetch_manifest
from abctl.update.operate import Ports, apply, observe
from abctl.update.payload import Release
from abctl.update.progress import OnProgress, Step, Stopwatch, ignore_progress
from abctl.update.write import Wishes, Work, prove_release, start_reading, write_release


@dataclass(frozen=True, slots=True)
class Installed:
    """What was installed. Sizes in bytes, times in seconds; ``written`` is without ranges of zeros."""

    target: SlotName
    version: Version
    sha256: Digest
    downloaded: int
    written: int
    took: float
    steps: Mapping[Step, float]


def install(
    ports: Ports,
    layout: str,
    offer: Offer,
    on_progress: OnProgress = ignore_progress,
    wishes: Wishes = Wishes(),  # noqa: B008 - it is frozen
) -> Installed:
    """Install what is offered in the slot set that does not run, and put it on trial.

    ``layout`` is the name of the disk's layout. Raise Refused, SourceProblem or BadRelease with nothing
    written; once something was, each message ends with what is left on the disk, and Ctrl-C comes out as
    Interrupted.
    """
    began = time.monotonic()
    job = _prepare(ports, layout, offer, on_progress, wishes)
    written, took, has_begun = 0, 0.0, False
    with start_reading(job.release, job.work) as payloads:
        try:
            apply(ports, InstallStarted(ports.now(), job.gate.version, job.plan.sha256))
            has_begun = True
            written = write_release(payloads, job.work)
            took = time.monotonic() - began
            apply(ports, job.verified(written, took))
        except BaseException as error:
            _give_up(job, error, has_begun=has_begun)
    return Installed(
        target=job.plan.target,
        version=job.gate.known,
        sha256=job.plan.sha256,
        downloaded=job.release.fetched - job.proved,
        written=written,
        took=took,
        steps=job.work.watch.took,
    )


def plan_only(
    ports: Ports,
    layout: str,
    offer: Offer,
    on_progress: OnProgress = ignore_progress,
    wishes: Wishes = Wishes(),  # noqa: B008 - it is frozen
) -> InstallPlan:
    """Return what ``install`` would do, or raise why it would refuse; a local release is read to its end.

    Nothing is written, not even what ``install`` would put in order first.
    """
    plan = _prepare(ports, layout, offer, on_progress, wishes).plan
    if plan.download_size is not None:
        return plan
    with offer.source.open(offer.file) as reader:
        return replace(plan, download_size=None if reader.length is None else Bytes(reader.length))


def fill_slot_set(  # noqa: PLR0913, PLR0917 - all of them are what it is about
    slots: Slots,
    layout: str,
    target: SlotName,
    offer: Offer,
    on_progress: OnProgress = ignore_progress,
    unpack: Unpack | None = None,
) -> Installed:
    """Write what is offered to a slot set of a new disk: the same checks, and no boot environment."""
    began, trusted = time.monotonic(), require_digest(offer)
    sizes, gate = _sizes_of(slots, target), _VersionGate()
    unpack = unpack or unpack_here
    work = Work(slots, target, gate.let_in, on_progress, Stopwatch(), unpack=unpack)
    release: Release
    if offer.kind is ReleaseKind.DIRECTORY:
        manifest = fetch_manifest(offer.source, offer.file, trusted)
        plan_release(target, layout, sizes, manifest, trusted)
        release = DirectoryRelease(offer.source, manifest, Seeds(target.other, None, None), work)
    else:
        release = ArchiveRelease(offer.source, offer.file, trusted, _download_limit(sizes), unpack)
    with start_reading(release, work) as payloads:
        written = write_release(payloads, work)
    took = time.monotonic() - began
    return Installed(target, gate.known, trusted, release.fetched, written, took, work.watch.took)


def require_digest(offer: Offer) -> Digest:
    """Return the digest that says which bytes are the right ones, or raise Untrusted."""
    if offer.sha256 is None:
        raise Untrusted(
            f"nothing says which {offer.file} from {offer.source.place} is the right one: give its SHA-256 "
            "with --sha256"
        )
    return offer.sha256


# --- before the first write -------------------------------------------------------------------------


@dataclass(slots=True)
class _VersionGate:
    """Learns the version of a release, which an archive tells only while it is read, and may refuse it.

    ``host`` is as it was found: that the slot set is empty meanwhile must not hide why it was bad.
    """

    host: Host | None = None
    sha256: Digest | None = None
    version: Version | None = field(default=None, init=False)

    def let_in(self, version: Version) -> None:
        self.version = version
        if self.host:
            check_install(self.host, version, self.sha256)

    @property
    def known(self) -> Version:
        if self.version is None:
            raise ValueError("the release was not read to its end")
        return self.version


@dataclass(frozen=True, slots=True)
class _Job:
    """An installation that nothing speaks against."""

    ports: Ports
    plan: InstallPlan
    release: Release
    gate: _VersionGate
    work: Work
    proved: int  # bytes that were read beforehand from a local source

    def verified(self, written: int, took: float) -> InstallVerified:
        now, note = self.ports.now(), self.work.wishes.note
        return InstallVerified(now, self.gate.known, self.plan.sha256, written, took, note)


def _prepare(ports: Ports, layout: str, offer: Offer, on_progress: OnProgress, wishes: Wishes) -> _Job:
    """Raise every refusal that can be known without writing."""
    trusted = require_digest(offer)
    host, _ = transition(observe(ports).host, Settle(ports.now()))
    target = check_install(host, None, trusted)
    for part in Part:
        ports.slots.check_unused(Slot(target, part))
    gate = _VersionGate(host, trusted)
    unpack = ports.unpack or unpack_here
    work = Work(ports.slots, target, gate.let_in, on_progress, Stopwatch(), wishes, unpack)
    plan, release = _plan(host, layout, offer, trusted, work)
    if offer.source.is_local:
        # A bad file must not cost what is in the slot set.
        sizes = prove_release(release, work)
        plan = with_archive_contents(plan, gate.known, sizes)
    return _Job(ports, plan, release, gate, work, release.fetched if offer.source.is_local else 0)


def _plan(host: Host, layout: str, offer: Offer, sha256: Digest, work: Work) -> tuple[InstallPlan, Release]:
    sizes = _sizes_of(work.slots, work.target)
    if offer.kind is ReleaseKind.ARCHIVE:
        limit = _download_limit(sizes)
        if work.wishes.max_download is not None:
            limit = min(limit, work.wishes.max_download)
        plan = make_archive_plan(host, sizes, offer.file, sha256, None)
        return plan, ArchiveRelease(offer.source, offer.file, sha256, limit, work.unpack)
    manifest = fetch_manifest(offer.source, offer.file, sha256)
    if offer.version not in (None, manifest.version):
        raise BadManifest(
            f"what was signed as {offer.version} is {manifest.version}: have the release published again"
        )
    if work.wishes.any_layout:
        layout = manifest.layouts[0]
    plan = make_plan(host, layout, sizes, manifest, sha256)
    seed, target = host.env[work.target.other], host.env[work.target]
    seeds = Seeds(work.target.other, seed.version, target.version, may_be_used=not work.wishes.in_full)
    release = DirectoryRelease(offer.source, manifest, seeds, work)
    chunked = release.prepare(work.on_progress)
    return with_ways(plan, {part: (image.costs, image.chosen) for part, image in chunked.items()}), release


def _sizes_of(slots: Slots, target: SlotName) -> SlotSizes:
    return {Slot(target, part): Bytes(slots.size_of(Slot(target, part))) for part in Part}


def _download_limit(sizes: SlotSizes) -> Bytes:
    """What an archive may have at most: images that fill their slots, and what the packing adds."""
    images = sum(size for slot, size in sizes.items() if slot.part in INSTALLED_PARTS)
    return Bytes(images + images // 64 + 16 * MIB)


# --- when it does not come to its end ---------------------------------------------------------------


def _give_up(job: _Job, error: BaseException, *, has_begun: bool) -> NoReturn:
    """Record the failure, as far as that is possible, and raise ``error`` with what is left on the disk."""
    # The boot environment is written before the slot set is.
    untouched = isinstance(error, StateUnwritable) and not has_begun
    left, is_armed = _find_what_is_left(job, untouched=untouched)
    said = str(error) or "interrupted"
    if not is_armed:
        with contextlib.suppress(AbctlError):
            apply(job.ports, InstallFailed(job.ports.now(), job.gate.version, said))
    if isinstance(error, AbctlError):
        raise type(error)(f"{said}. {left}") from error
    if isinstance(error, KeyboardInterrupt):
        raise Interrupted(f"{said}. {left}") from error
    raise error


def _find_what_is_left(job: _Job, *, untouched: bool) -> tuple[str, bool]:
    """Return a sentence on the two slot sets, and whether the new release is on trial nevertheless."""
    target, env = job.plan.target, read_boot_env(job.ports.grub.read()).env
    if env and env.trial and env.trial.slot_set is target:
        says = "reboot into it, or call it off with 'abctl rollback'"
        return f"Slot set {target} is written and on trial all the same: {says}", True
    if untouched or (env and env[target].state is not SlotState.EMPTY):
        return f"Slot set {target} was not written to, and slot set {target.other} is untouched", False
    return (
        f"Slot set {target} was being written and is left empty; slot set {target.other} is untouched",
        False,
    )
