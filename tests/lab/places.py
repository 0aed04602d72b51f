"""Where the lab keeps its things, and the numbers that several of its modules share."""

from pathlib import Path

LAB = Path(__file__).resolve().parent
REPOSITORY = LAB.parents[1]
CACHE = REPOSITORY / ".cache/lab"
RUNS = CACHE / "runs"
ABCTL = REPOSITORY / ".venv/bin/abctl"

LAYOUT = "hostos-lab"
SERVER_ADDRESS = "10.0.2.100"  # of the release server, as the guest sees it; /etc/hosts calls it releases.lab
MIRROR = "http://releases.lab/"
