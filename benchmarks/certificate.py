"""The certificate that TLS servers of the benchmark show, and the authority that clients trust."""

from __future__ import annotations

import importlib.util
from pathlib import Path

AUTHORITY = "authority.pem"
CHAIN = "chain.pem"
KEY = "key.pem"


def missing() -> str | None:
    """Say why no certificate can be made here, or return None."""
    return None if importlib.util.find_spec("trustme") else "no trustme"


def make(folder: Path) -> None:
    """Write an authority, and a certificate of it for localhost with its key, into `folder`."""
    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(folder / AUTHORITY)
    certificate.private_key_pem.write_to_path(folder / KEY)
    for number, pem in enumerate(certificate.cert_chain_pems):
        pem.write_to_path(folder / CHAIN, append=number > 0)
