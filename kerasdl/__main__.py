"""`kerasdl` and `python -m kerasdl`."""

import sys

from kerasdl.cli import main

if __name__ == "__main__":
    sys.exit(main())
