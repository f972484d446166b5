"""`python -m lt_trainer`: the same as `lt-trainer`."""

import sys

from lt_trainer.cli import main

if __name__ == "__main__":
    sys.exit(main())
