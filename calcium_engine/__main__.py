"""`python -m calcium_engine` is the command `calcium`."""

import sys

from calcium_engine.cli import main

if __name__ == "__main__":
    sys.exit(main())
