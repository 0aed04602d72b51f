"""disk create, disk show and disk check."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from abctl.cli.options import SizeType, json_option, sha256_option
from abctl.cli.progress import Form, choose_form, frame_progress, progress_options, show_progress
from abctl.cli.show import show
from abctl.cli.wiring import Target
from abctl.core.units import Bytes, Digest

if TYPE_CHECKING:
    from abctl.core.layout import Layout
    from abctl.ports import Offer
    from abctl.update.install import Installed
    from abctl.update.progress import OnProgress

_DIFFERENT = 3  # exit code of `disk check`


@click.group()
def disk() -> None:
    """Make, draw and check a disk.

    \b
    Example:
      abctl disk create host.img --layout hostos --release ./release-1.0.0 --sha256 4f2c...
    """


def _named(target: Target, image: Path | None) -> Path:
    """Return the disk that the user named, behind the command or by --disk."""
    path = image or target.disk
    if path is None:
        raise click.UsageError("name a disk image or device, as in 'abctl disk show host.img'")
    return path


@disk.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--layout", required=True, help="hostos, guestos, or a file or folder that describes another.")
@click.option("--size", type=SizeType(), help="Size of the disk, as in 110G (default: the layout's).")
@click.option(
    "--release", "source", required=True, help="What to put into slot set A: as for 'abctl upgrade'."
)
@sha256_option
@click.option("--efi", is_flag=True, help="Fill the ESP, so that it starts: Debian's signed shim and GRUB.")
@click.option("--force", is_flag=True, help="Overwrite a block device and lose all that is on it.")
@progress_options
@json_option
def create(
    image: Path,
    layout: str,
    size: Bytes | None,
    source: str,
    sha256: Digest | None,
    efi: bool,
    force: bool,
    progress: Form,
    as_json: bool,
) -> None:
    """Make a disk in IMAGE: partitions, volumes, GRUB's files, and a release in slot set A.

    An image is a sparse file; it takes only the space of what is in it. A block device is overwritten
    only with --force.

    \b
    Example:
      abctl disk create host.img --layout hostos --size 110G --release ./release-1.0.0 --sha256 4f2c...
    """
    form = choose_form(progress, sys.stderr, as_json=as_json)
    with frame_progress(sys.stderr, form):
        _create(image, layout, size, source, sha256, form, efi=efi, force=force, as_json=as_json)


def _create(
    image: Path,
    layout: str,
    size: Bytes | None,
    source: str,
    sha256: Digest | None,
    form: Form,
    *,
    efi: bool,
    force: bool,
    as_json: bool,
) -> None:
    from abctl.cli.wiring import locate  # noqa: PLC0415
    from abctl.host.esp import make_esp_files  # noqa: PLC0415
    from abctl.host.layouts import read_layout  # noqa: PLC0415

    began = time.monotonic()
    offer, wanted = locate(source, sha256), read_layout(layout)
    esp = make_esp_files(wanted) if efi else {}
    with show_progress(sys.stderr, form) as on_progress:
        made, installed = make_disk(image, wanted, size, offer, on_progress, esp=esp, force=force)
    _show_created(image, made, installed, time.monotonic() - began, as_json=as_json)


def make_disk(
    image: Path,
    layout: "Layout",
    size: Bytes | None,
    offer: "Offer",
    on_progress: "OnProgress",
    *,
    esp: Mapping[str, bytes],
    force: bool = False,
) -> "tuple[Layout, Installed]":
    """Make a disk with the release in slot set A and ``esp``'s files; return its layout, fitted to it."""
    from abctl.cli.wiring import machine_of  # noqa: PLC0415
    from abctl.core.slot import SlotName  # noqa: PLC0415
    from abctl.host.create import FirstState, create_disk  # noqa: PLC0415
    from abctl.update.first import blank_config_files, blank_env_files, record_creation  # noqa: PLC0415
    from abctl.update.install import fill_slot_set, require_digest  # noqa: PLC0415

    require_digest(offer)
    state = FirstState(blank_env_files(), blank_config_files(), esp)
    with create_disk(image, layout, state, size=size, force=force) as made:
        ports = machine_of(made).ports
        installed = fill_slot_set(
            ports.slots, layout.name, SlotName.A, offer, on_progress, unpack=ports.unpack
        )
        record_creation(ports, installed)
    return made.layout, installed


def _show_created(
    image: Path, layout: "Layout", installed: "Installed", took: float, *, as_json: bool
) -> None:
    from abctl.cli.render import render_created  # noqa: PLC0415
    from abctl.cli.report_disk import CreateReport  # noqa: PLC0415

    report = CreateReport(
        disk=str(image),
        layout=layout.name,
        size=layout.size,
        used=image.stat().st_blocks * 512,
        version=installed.version,
        sha256=installed.sha256,
        took=took,
    )
    show(report, render_created, as_json=as_json)


@disk.command("show")
@click.argument("image", type=click.Path(path_type=Path), required=False)
@json_option
@click.pass_obj
def show_disk(target: Target, image: Path | None, as_json: bool) -> None:
    """Draw the partitions, volumes and slot sets of a disk to scale.

    \b
    Examples:
      abctl disk show host.img
      abctl --disk /dev/sda disk show --json
    """
    from abctl.cli.describe_disk import describe_disk  # noqa: PLC0415
    from abctl.cli.draw import draw_disk  # noqa: PLC0415
    from abctl.core.bootenv import read_boot_env  # noqa: PLC0415
    from abctl.host.disk import DiskGrubPartition, open_disk  # noqa: PLC0415

    path = _named(target, image)
    found = open_disk(path, target.read_layout())
    env = read_boot_env(DiskGrubPartition(found).read()).env
    report = describe_disk(str(path), found.layout, found.table, found.group, env, booted=target.booted)
    show(report, draw_disk, as_json=as_json)


@disk.command()
@click.argument("image", type=click.Path(path_type=Path), required=False)
@json_option
@click.pass_obj
def check(target: Target, image: Path | None, as_json: bool) -> NoReturn:
    """Compare a disk with its layout and name each difference.

    Exit code 0 where there is none, 3 where there are some.

    \b
    Example:
      abctl --layout hostos disk check host.img
    """
    from abctl.cli.describe_disk import describe_check  # noqa: PLC0415
    from abctl.cli.render import render_check  # noqa: PLC0415
    from abctl.host.disk import check_disk  # noqa: PLC0415

    path = _named(target, image)
    layout, differences = check_disk(path, target.read_layout())
    report = describe_check(str(path), layout.name, differences)
    show(report, render_check, as_json=as_json)
    sys.exit(0 if report.same else _DIFFERENT)
