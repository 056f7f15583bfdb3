"""A certificate for the local cloud's https."""

import datetime as dt
import ipaddress
import os
from pathlib import Path
from typing import NamedTuple

from tasks_cli.errors import CliError

_VALIDITY = dt.timedelta(days=30)


class Certificate(NamedTuple):
    """A self-signed certificate for 127.0.0.1, which is its own CA bundle, and its key; both PEM files."""

    certificate: Path
    key: Path


def write(directory: Path) -> Certificate:
    """Make a certificate and its key in ``directory``.

    Raises:
        CliError: the ``cryptography`` package is missing.
    """
    try:
        from cryptography import x509  # noqa: PLC0415  (only https needs it)
        from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    except ImportError as error:
        raise CliError("https on the local cloud needs a package: pip install cryptography") from error

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tasks local cloud")])
    now = dt.datetime.now(dt.UTC)
    addresses = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + _VALIDITY)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    written = Certificate(directory / "certificate.pem", directory / "certificate-key.pem")
    written.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with open(written.key, "wb", opener=_private) as file:
        file.write(private)
    return written


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
