"""`python -m medapp`: the command line."""

import sys

from medapp.cli import main

sys.exit(main())
