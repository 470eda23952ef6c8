"""``python -m fairkd``."""

import sys

from fairkd.cli import main

if __name__ == "__main__":
    sys.exit(main())
