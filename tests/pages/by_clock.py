"""Run abctl by a clock that stands still: python -m tests.pages.by_clock SECONDS ARGUMENTS..."""

import sys
from unittest.mock import patch

from abctl.core.units import Seconds

if __name__ == "__main__":
    time = Seconds(int(sys.argv.pop(1)))
    with patch("abctl.host.clock.now", lambda: time):
        from abctl.__main__ import main

        sys.exit(main())
