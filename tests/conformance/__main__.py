"""`python -m tests.conformance` from the root of the repository is `run.py`."""

from __future__ import annotations

import sys

from .run import main

sys.exit(main())
