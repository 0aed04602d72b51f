"""Make the reports of an upgrade from its plan and its result."""

from abctl.cli.describe import describe_next_boot
from abctl.cli.report_upgrade import InstallReport, PlannedImage, PlannedWay, PlanReport
from abctl.core.bootenv import EnvFiles
from abctl.core.events import Host
from abctl.core.plan import ImagePlan, InstallPlan
from abctl.core.units import Digest, format_size
from abctl.core.ways import WayCost
from abctl.errors import AbctlError
from abctl.update.install import Installed


def describe_plan(plan: InstallPlan, *, source: str, disk: str | None = None) -> PlanReport:
    """Return what an upgrade would do."""
    return PlanReport(
        disk=disk,
        source=source,
        version=plan.version,
        sha256=plan.sha256,
        refused=None,
        exit_code=0,
        slot_set=plan.target,
        overwritten=plan.overwritten,
        images=tuple(
            PlannedImage(
                slot=image.slot.name,
                part=image.slot.part,
                file=image.file,
                compression=image.compression,
                download=image.download_size,
                size=image.size,
                slot_size=image.slot_size,
                ways=tuple(_describe_way(way, image) for way in image.ways),
            )
            for image in plan.images
        ),
        download=plan.download_size,
        steps=_list_steps(plan),
        notes=plan.notes,
    )


def _describe_way(way: WayCost, image: ImagePlan) -> PlannedWay:
    return PlannedWay(
        way=way.kind,
        version=way.version,
        download=way.download,
        why_not=way.why_not or None,
        chosen=way is image.chosen,
    )


def _list_steps(plan: InstallPlan) -> tuple[str, ...]:
    release = plan.version or "the release"
    amount = "" if plan.download_size is None else f" ({format_size(plan.download_size)})"
    return (
        f"make slot set {plan.target} unbootable, in the boot environment and on the disk",
        f"fetch {release}{amount} from the source, compare its SHA-256, and write it",
        "read every byte back from the disk and compare it",
        f"put slot set {plan.target} on trial, by one write of the boot environment",
    )


def describe_refused_plan(
    error: AbctlError, *, source: str, sha256: Digest | None = None, disk: str | None = None
) -> PlanReport:
    """Return why an upgrade would not be carried out."""
    return PlanReport(
        disk=disk,
        source=source,
        version=None,
        sha256=sha256,
        refused=str(error),
        exit_code=error.exit_code,
        slot_set=None,
        overwritten=None,
        images=(),
        download=None,
        steps=(),
        notes=(),
    )


def describe_install(
    installed: Installed,
    host: Host,
    files: EnvFiles,
    *,
    source: str,
    rebooting: bool,
    disk: str | None = None,
) -> InstallReport:
    """Return what was installed; ``host`` and ``files`` are as the installation left them."""
    return InstallReport(
        disk=disk,
        source=source,
        version=installed.version,
        sha256=installed.sha256,
        slot_set=installed.target,
        downloaded=installed.downloaded,
        written=installed.written,
        took=installed.took,
        rebooting=rebooting,
        next_boot=describe_next_boot(host, files),
    )
