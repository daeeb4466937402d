"""`python -m omniopd` is the command `omniopd`: what launchers of several processes start."""

import sys

from omniopd.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
