"""Makes ``python -m rat_fsm.cli`` the same as ``rat-fsm``."""

import sys

from rat_fsm.cli import main

if __name__ == "__main__":
    sys.exit(main())
