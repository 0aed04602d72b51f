"""The host's configuration on the disk: config.toml, and the pinned root metadata beside it."""

from dataclasses import dataclass
from pathlib import Path

from abctl.core.config import CONFIG_NAME, Config, parse_config
from abctl.core.units import KIB
from abctl.errors import BadConfig, NoRepository

DEFAULT_FOLDER = Path("/etc/abctl")
_CONFIG_MAX = 256 * KIB
_ROOT_MAX = 64 * KIB


@dataclass(frozen=True, slots=True)
class HostConfig:
    """The configuration, and the folder that its paths are relative to; ``is_there`` if there is a file."""

    folder: Path
    config: Config
    is_there: bool

    @property
    def ca_file(self) -> Path | None:
        name = self.config.repository.ca_file
        return self.folder / name if name else None

    def read_root(self) -> bytes:
        """Return the pinned root metadata; raise NoRepository or BadConfig."""
        path = self.folder / self.config.repository.root
        if not path.exists():
            raise NoRepository(
                f"{path} does not exist, so nothing says whose signatures count: put the repository's root "
                "metadata there"
            )
        return _read(path, _ROOT_MAX)


def read_config(folder: Path, *, must_exist: bool = False) -> HostConfig:
    """Return the configuration in ``folder``; without a file all is as by default. Raise BadConfig."""
    path = folder / CONFIG_NAME
    if not path.exists():
        if must_exist:
            raise BadConfig(f"{path} does not exist: name the folder that holds {CONFIG_NAME}")
        return HostConfig(folder, Config(), is_there=False)
    try:
        text = _read(path, _CONFIG_MAX).decode()
    except UnicodeDecodeError as error:
        raise BadConfig(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error
    return HostConfig(folder, parse_config(text, str(path)), is_there=True)


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > limit:
        raise BadConfig(f"{path} has more than {limit} bytes: it is another file")
    return data
