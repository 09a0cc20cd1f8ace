"""What several tests of faults need."""

from __future__ import annotations

import pytest
from certificates import make_contexts


@pytest.fixture(scope="session")
def contexts(tmp_path_factory):
    """A server's and a client's TLS context, for localhost."""
    return make_contexts(tmp_path_factory.mktemp("certificate"))
