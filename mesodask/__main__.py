"""``python -m mesodask`` is the command ``mesodask``."""

import sys

from mesodask.cli import main

if __name__ == "__main__":
    sys.exit(main())
