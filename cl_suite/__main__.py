"""`python -m cl_suite`, as torchrun starts it."""

import sys

from cl_suite.cli import main

if __name__ == "__main__":
    sys.exit(main())
