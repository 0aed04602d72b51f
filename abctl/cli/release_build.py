"""release build: make what is published out of two images."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from abctl.build.older import OlderRelease, read_older
from abctl.build.parallel import Effort
from abctl.build.release import OnStage, Order, Rooms, Stage, build_release
from abctl.cli.describe_release import describe_build
from abctl.cli.options import VersionType, json_option
from abctl.cli.progress import Form, choose_form, frame_progress, progress_options, show_progress
from abctl.cli.render_release import render_build
from abctl.cli.show import show
from abctl.core.layout import Layout
from abctl.core.release import DELTAS_MAX, INSTALLED_PARTS, LayoutName
from abctl.core.slot import Part, Slot, SlotName
from abctl.core.units import Bytes, Version
from abctl.errors import Interrupted
from abctl.host.layouts import list_layouts, read_layout
from abctl.update.progress import OnProgress, Progress, Remark, Step

_STEPS = {
    Stage.PACK: Step.PACK,
    Stage.UNPACK: Step.UNPACK,
    Stage.DELTA: Step.DELTA,
    Stage.CHECK: Step.PROVE,
}
LEVELS = (1, 22)  # of zstd
_LAYOUTS_MAX = 16  # as the manifest has it


@click.command(short_help="Pack two images as a release directory, with deltas from older releases.")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--version", type=VersionType(), required=True, help="The version of the release.")
@click.option(
    "--layout", "layouts", multiple=True, required=True, help="A layout that it is for; repeatable."
)
@click.option("--boot", type=click.Path(path_type=Path), required=True, help="The image of Boot.")
@click.option("--root", type=click.Path(path_type=Path), required=True, help="The image of Root.")
@click.option(
    "--from",
    "older",
    type=click.Path(path_type=Path),
    multiple=True,
    help="An older release directory that hosts may have: they will download a delta only; repeatable.",
)
@click.option(
    "--level",
    type=click.IntRange(*LEVELS),
    default=19,
    show_default=True,
    help="zstd's level: 3 is quick, 19 is small.",
)
@click.option(
    "--delta-level",
    type=click.IntRange(*LEVELS),
    default=19,
    show_default=True,
    help="zstd's level for deltas.",
)
@click.option(
    "--threads", type=click.IntRange(1, 256), help="Threads that pack (default: one for each core)."
)
@progress_options
@json_option
def build(
    out: Path,
    version: Version,
    layouts: tuple[str, ...],
    boot: Path,
    root: Path,
    older: tuple[Path, ...],
    level: int,
    delta_level: int,
    threads: int | None,
    progress: Form,
    as_json: bool,
) -> None:
    """Make the release directory OUT out of two images.

    Images are packed with zstd, so that any zstd reads them, in chunks that are fetched, checked and written
    one by one. Each --from adds what a host with that release needs to download much less. All of it is
    unpacked and compared before OUT gets its name; the same images and options make the same bytes.

    \b
    Example:
      abctl release build ./2.0.0 --version 2.0.0 --layout hostos \\
        --boot boot.img --root root.img --from ./1.9.0 --from ./1.8.0
    """
    form = choose_form(progress, sys.stderr, as_json=as_json)
    with frame_progress(sys.stderr, form):
        began = time.monotonic()
        _check_layouts(layouts)
        effort = Effort(level, delta_level, threads or len(os.sched_getaffinity(0)))
        images = {Part.BOOT: boot, Part.ROOT: root}
        order = Order(version, layouts, images, _read_all_older(older, version), effort)
        with show_progress(sys.stderr, form) as on_progress:
            _say_unknown_layouts(layouts, on_progress)
            known = [read_layout(name) for name in sorted(set(layouts) & set(list_layouts()))]
            with leaving_nothing(out):
                built = build_release(out, order, measure_rooms(known), forward(on_progress))
        report = describe_build(out, built, time.monotonic() - began)
        show(report, render_build, as_json=as_json)


def _check_layouts(layouts: Sequence[str]) -> None:
    for layout in layouts:
        try:
            TypeAdapter(LayoutName).validate_python(layout)
        except ValidationError as error:
            message = f"{layout[:80]!r} is not the name of a layout"
            raise click.BadParameter(message, param_hint="--layout") from error
    if len(set(layouts)) < len(layouts):
        raise click.BadParameter("a layout is named twice", param_hint="--layout")
    if len(layouts) > _LAYOUTS_MAX:
        raise click.BadParameter(f"no more than {_LAYOUTS_MAX} can be named", param_hint="--layout")


def _read_all_older(folders: Sequence[Path], version: Version) -> tuple[OlderRelease, ...]:
    found: dict[Version, Path] = {version: Path("the new release")}
    releases = tuple(read_older(folder) for folder in folders)
    for older in releases:
        theirs = older.manifest.version
        if theirs in found:
            raise click.BadParameter(
                f"{older.folder} has version {theirs}, and so has {found[theirs]}", param_hint="--from"
            )
        found[theirs] = older.folder
    if len(releases) > DELTAS_MAX:
        raise click.BadParameter(f"no more than {DELTAS_MAX} can be named", param_hint="--from")
    return releases


@contextmanager
def leaving_nothing(out: Path) -> Iterator[None]:
    """Say of an interruption that it left nothing at ``out``."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted: nothing was left at {out}; build it again") from error


def measure_rooms(layouts: Iterable[Layout]) -> Rooms:
    """Return the sizes of the slots of these layouts."""
    return {
        layout.name: {
            part: Bytes(min(layout.slot_size(Slot(slot_set, part)) for slot_set in SlotName))
            for part in INSTALLED_PARTS
        }
        for layout in layouts
    }


def _say_unknown_layouts(layouts: Sequence[str], on_progress: OnProgress) -> None:
    for name in layouts:
        if name not in list_layouts():
            on_progress(
                Remark(
                    f"layout {name} is none of {', '.join(list_layouts())}: whether it fits is not checked"
                )
            )


def forward(on_progress: OnProgress) -> OnStage:
    """Return what tells the steps of a build as those of an installation."""
    return lambda stage, part, done, total: on_progress(Progress(_STEPS[stage], part, done, total))
