"""build image: make Boot, Root, the release of them, and a disk that starts."""

import sys
import time
from pathlib import Path

import click

from abctl.cli.image_steps import ImageOrder, Made, build_images
from abctl.cli.options import SizeType, VersionType, json_option
from abctl.cli.progress import Form, choose_form, frame_progress, progress_options, show_progress
from abctl.cli.release_build import LEVELS, leaving_nothing
from abctl.cli.render_images import render_images
from abctl.cli.report_images import ImageReport, ImagesReport
from abctl.cli.show import show
from abctl.core.recipe import Recipe, parse_arguments
from abctl.core.units import Bytes, Version
from abctl.host.bootstrap import read_recipe
from abctl.host.layouts import read_layout


@click.command(short_help="Make Boot, Root and the release of them out of a Debian tree.")
@click.option(
    "--recipe", type=click.Path(path_type=Path), help="A TOML file that says which packages to install."
)
@click.option("--tree", type=click.Path(path_type=Path), help="A folder with a whole system instead.")
@click.option("--version", type=VersionType(), required=True, help="The version of the release.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The folder to be made.")
@click.option(
    "--layout", "layouts", multiple=True, required=True, help="A layout that it is for; repeatable."
)
@click.option("--disk", type=click.Path(path_type=Path), help="Make this disk image too, with EFI boot.")
@click.option("--disk-size", type=SizeType(), help="Size of the disk, as in 110G (default: the layout's).")
@click.option(
    "--boot-size", type=SizeType(), help="Size of boot.img (default: the recipe's, or what it takes)."
)
@click.option(
    "--root-size", type=SizeType(), help="Size of root.img (default: the recipe's, or what it takes)."
)
@click.option(
    "--kernel-arguments", help="What the kernel is told, as in 'console=ttyS0' (default: the recipe's)."
)
@click.option(
    "--install-abctl/--no-install-abctl",
    "abctl",
    default=None,
    help="Whether abctl is put into Root (default: the recipe's, or yes).",
)
@click.option(
    "--level",
    type=click.IntRange(*LEVELS),
    default=3,
    show_default=True,
    help="zstd's level for the release: 3 is quick, 19 is small.",
)
@progress_options
@json_option
def image(
    recipe: Path | None,
    tree: Path | None,
    version: Version,
    output: Path,
    layouts: tuple[str, ...],
    disk: Path | None,
    disk_size: Bytes | None,
    boot_size: Bytes | None,
    root_size: Bytes | None,
    kernel_arguments: str | None,
    abctl: bool | None,
    level: int,
    progress: Form,
    as_json: bool,
) -> None:
    """Make boot.img, root.img, VERSION.TXT and the release of them in a new folder.

    The tree comes from a recipe, with mmdebstrap and as root, or is a folder. Kernel and initramfs go into
    Boot, all else into Root, with abctl installed. The same tree, abctl and options make the same bytes; all
    files are dated by SOURCE_DATE_EPOCH, or 1980.

    \b
    Examples:
      abctl build image --recipe host.toml --version 1.0.0 --layout hostos --output ./1.0.0
      abctl build image --tree ./tree --version 1.0.0 --layout hostos --output ./1.0.0 --disk host.img
    """
    if (recipe is None) == (tree is None):
        raise click.UsageError("give either --recipe or --tree")
    if disk and len(layouts) > 1:
        raise click.UsageError("a disk has one layout: give --layout once, or leave out --disk")
    began, form = time.monotonic(), choose_form(progress, sys.stderr, as_json=as_json)
    plan = read_recipe(recipe) if recipe else None
    order = ImageOrder(
        recipe=plan,
        source=(recipe or tree or Path()).resolve(),
        version=version,
        layouts=tuple(read_layout(layout) for layout in layouts),
        boot_size=boot_size or _bytes(plan.boot_size if plan else None),
        root_size=root_size or _bytes(plan.root_size if plan else None),
        arguments=_choose_arguments(kernel_arguments, plan),
        abctl=abctl if abctl is not None else plan is None or plan.abctl,
        level=level,
        disk=disk,
        disk_size=disk_size,
    )
    with (
        frame_progress(sys.stderr, form),
        show_progress(sys.stderr, form) as on_progress,
        leaving_nothing(output),
    ):
        made = build_images(output, order, on_progress)
    show(_describe(output, order, made, time.monotonic() - began), render_images, as_json=as_json)


def _bytes(size: int | None) -> Bytes | None:
    return None if size is None else Bytes(size)


def _choose_arguments(given: str | None, recipe: Recipe | None) -> str:
    if given is not None:
        return parse_arguments(given)
    return recipe.kernel_arguments if recipe else ""


def _describe(output: Path, order: ImageOrder, made: Made, took: float) -> ImagesReport:
    return ImagesReport(
        folder=str(output),
        version=order.version,
        kernel=made.kernel,
        kernel_arguments=order.arguments,
        images=tuple(
            ImageReport(
                part=part,
                file=f"{part}.img",
                size=(output / f"{part}.img").stat().st_size,
                used=(output / f"{part}.img").stat().st_blocks * 512,
                sha256=digest,
            )
            for part, digest in made.digests.items()
        ),
        release=str(output / "release"),
        sha256=made.sha256,
        disk=str(order.disk) if order.disk else None,
        took=round(took, 3),
    )
