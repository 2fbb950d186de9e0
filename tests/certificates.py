"""Certificates that tests make for themselves."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """PEM files: a server's certificate and key, good for 127.0.0.1 and for no other name; the authority that signed
    it; and another one, which did not.
    """

    certificate: Path
    key: Path
    authority: Path
    stranger: Path


def make(folder: Path) -> Certificates:
    """Make them in ``folder``, with openssl; they last two days."""
    authority, stranger = _authority(folder, "authority"), _authority(folder, "stranger")
    request, key, certificate = folder / "server.csr", folder / "server.key", folder / "server.pem"
    _openssl("req", *CURVE, "-subj", "/CN=server", "-keyout", str(key), "-out", str(request))
    extensions = folder / "server.ext"
    extensions.write_text(
        "subjectAltName = IP:127.0.0.1\nauthorityKeyIdentifier = keyid\nbasicConstraints = CA:FALSE\n"
    )
    signed_by = ["-CA", str(authority), "-CAkey", str(folder / "authority.key"), "-CAcreateserial"]
    _openssl(
        "x509", "-req", "-in", str(request), *signed_by, "-days", "2", "-extfile", str(extensions), "-out", str(certificate)
    )  # fmt: skip
    return Certificates(certificate=certificate, key=key, authority=authority, stranger=stranger)


def _authority(folder: Path, name: str) -> Path:
    file = folder / f"{name}.pem"
    about = ["-subj", f"/CN={name} of the tests", "-days", "2", "-addext", "keyUsage = critical,keyCertSign"]
    _openssl("req", "-x509", *CURVE, *about, "-keyout", str(folder / f"{name}.key"), "-out", str(file))
    return file


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=30)
