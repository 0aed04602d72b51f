"""What `make lab` runs before the scenarios.

python -m tests.lab prepare [short]   build what they start from, for all of them or the short set
python -m tests.lab root              write the root that images pin anew
"""

import sys
import tempfile
import time
from pathlib import Path

from tests.lab.prepare import PINNED, make_pinned_repository, prepare
from tests.lab.variants import ALL, SHORT


def main() -> None:
    match sys.argv[1:]:
        case ["prepare", *which]:
            began = time.monotonic()
            stock = prepare(SHORT if which == ["short"] else ALL)
            print(f"lab: {stock.folder} is ready after {time.monotonic() - began:.0f} s")
        case ["root"]:
            with tempfile.TemporaryDirectory() as folder:
                PINNED.write_bytes(make_pinned_repository(Path(folder) / "repository").root)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
