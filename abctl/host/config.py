"""The host's configuration on the disk: config.toml, and the pinned root metadata beside it."""

from dataclasses import dataclass
from pathlib import Path

from abctl.core.config import CONFIG_NAME, Config, parse_config
from abctl.core.units import KIB
from abctl.errors import BadConfig, NoRepository
from abctl.host.small_files import read_bounded, read_text

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
        return read_bounded(path, _ROOT_MAX, BadConfig)


def read_config(folder: Path, *, must_exist: bool = False) -> HostConfig:
    """Return the configuration in ``folder``; without a file all is as by default. Raise BadConfig."""
    path = folder / CONFIG_NAME
    if not path.exists():
        if must_exist:
            raise BadConfig(f"{path} does not exist: name the folder that holds {CONFIG_NAME}")
        return HostConfig(folder, Config(), is_there=False)
    text = read_text(path, _CONFIG_MAX, BadConfig)
    return HostConfig(folder, parse_config(text, str(path)), is_there=True)
