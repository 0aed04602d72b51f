"""Cut the power of upgrading hosts at random, and write docs/reliability.md.

It goes on where it was stopped: what was found is kept with the recordings, in .cache/lab/campaign.
"""

import argparse
import signal
import sys
import time

from tests.lab.campaign.page import write_page
from tests.lab.campaign.record import make_recordings
from tests.lab.campaign.run import Campaign, clean
from tests.lab.campaign.sets import Set, find_set
from tests.lab.server import serve


def main() -> None:
    options = _parse()
    if options.page:
        write_page(find_set())
        return
    found = _record(anew=options.anew)
    campaign = Campaign(found, options.jobs, time.monotonic() + options.minutes * 60)
    clean(found)
    _stop_on_signals(campaign)
    try:
        if options.repeat:
            _repeat(campaign, options.repeat)
            return
        campaign.boot(options.cuts, options.killed)
        campaign.kill(options.killed)
        campaign.look(options.looked)
    finally:
        write_page(found)
    if any(item.problems for item in campaign.known):
        sys.exit("campaign: something went wrong after a cut: see docs/reliability.md")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.campaign", description=__doc__)
    parser.add_argument("--cuts", type=int, default=300, help="cuts whose disk is powered on (%(default)s)")
    parser.add_argument("--looked", type=int, default=3000, help="cuts looked at from outside (%(default)s)")
    parser.add_argument("--killed", type=int, default=6, help="live upgrades that are killed (%(default)s)")
    parser.add_argument("--minutes", type=float, default=600, help="then no cut is begun (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="machines at a time (%(default)s)")
    parser.add_argument("--anew", action="store_true", help="record the sources as they are now")
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument("--repeat", nargs=2, metavar=("RECORDING", "INDEX"), help="one cut once more")
    return parser.parse_args()


def _record(*, anew: bool) -> Set:
    found = find_set(anew=anew)
    repository = found.repository
    repository.renew(targets=True)
    with serve(repository.folder) as server:
        make_recordings(found, server)
    return found


def _stop_on_signals(campaign: Campaign) -> None:
    """Let Ctrl-C and SIGTERM end it after the machines that run; the second time at once."""

    def stop(number: int, _: object) -> None:
        print("campaign: stops when the machines that run are at rest; once more to stop at once", flush=True)
        campaign.until = 0.0
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def _repeat(campaign: Campaign, what: tuple[str, str]) -> None:
    recording = next(item for item in campaign.found.recordings if item.plan.name == what[0])
    print(campaign.repeat(recording, int(what[1])))


if __name__ == "__main__":
    main()
