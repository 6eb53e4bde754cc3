"""`python -m usjepa`: the same as the command `usjepa`."""

import sys

from usjepa.cli import main

sys.exit(main())
