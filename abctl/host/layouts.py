"""Layout files: the shipped ones, the user's own, and folders in the older system's form."""

import tomllib
from pathlib import Path
from typing import Any

from abctl.core.layout import Layout, make_layout
from abctl.errors import BadLayout
from abctl.host.data import find_data

PARTITIONS_CSV, VOLUMES_CSV = "partitions.csv", "volumes.csv"


def list_layouts() -> list[str]:
    """Return the names of the shipped layouts."""
    return sorted(path.stem for path in find_data("layout").glob("*.toml"))


def read_layout(name: str | Path) -> Layout:
    """Return a layout by the name of a shipped one, by a TOML file, or by a folder with the two CSV files.

    Raise BadLayout with the place of what is wrong.
    """
    if str(name) in list_layouts():
        # What ships was checked by the tests, and checking takes longer than all else that status does.
        return make_layout(_read_toml(find_data("layout") / f"{name}.toml"))
    path = Path(name)
    if path.is_dir():
        return _read_csv(path)
    if not path.exists():
        raise BadLayout(
            f"there is no layout {name}: give {', '.join(list_layouts())}, a TOML file or a folder"
        )
    return _read_own(path)


def _read_own(path: Path) -> Layout:
    from abctl.core.layout_file import parse_layout  # noqa: PLC0415 (see above)

    return parse_layout(_read_toml(path), str(path))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read_text(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadLayout(f"{path} is not TOML: {error}") from error


def _read_csv(folder: Path) -> Layout:
    from abctl.core.layout_csv import parse_csv_layout  # noqa: PLC0415 (see above)

    volumes = folder / VOLUMES_CSV
    return parse_csv_layout(
        _read_text(folder / PARTITIONS_CSV),
        _read_text(volumes) if volumes.exists() else None,
        folder.resolve().name,
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise BadLayout(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadLayout(f"{path} is not text in UTF-8: byte {error.start} is wrong") from error
