"""What the console script calls: it is there before anything that takes time to import.

Ctrl-C in the first half second is then a Ctrl-C like any other, and not a traceback.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from hatfleet.cli.main import main as run
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
