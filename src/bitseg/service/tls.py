"""TLS and mutual TLS. Certificates are read again when their files change."""

import logging
import ssl
from pathlib import Path

import grpc

from bitseg.errors import InvalidArgumentError
from bitseg.service.settings import Settings

_log = logging.getLogger("bitseg.service")


def server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """The credentials of a server; None without TLS.

    Raises InvalidArgumentError for a certificate without its key, and for files that cannot be read.
    """
    certificate, key, client_ca = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None:
        raise InvalidArgumentError("TLS needs a certificate and its key", hint="set --tls-certificate and --tls-key")
    files = (certificate, key) if client_ca is None else (certificate, key, client_ca)
    contents = [_content(path) for path in files]
    _require_pair(certificate, key)

    def changed() -> grpc.ServerCertificateConfiguration | None:
        """The configuration for the next handshake if a file has changed; None to keep the current one."""
        nonlocal contents
        try:
            read = [_content(path) for path in files]
            if read == contents:
                return None
            _require_pair(certificate, key)
        except InvalidArgumentError as error:
            _log.error("the certificates could not be reloaded, and the old ones stay in use: %s", error)
            return None
        contents = read
        _log.info("reloaded the certificates")
        return _configuration(read)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(contents),
        changed,  # type: ignore[arg-type] # None is allowed, the types do not know.
        require_client_authentication=client_ca is not None,
    )


def _configuration(contents: list[bytes]) -> grpc.ServerCertificateConfiguration:
    certificate, key, *client_ca = contents
    return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca[0] if client_ca else None)


def _require_pair(certificate: Path, key: Path) -> None:
    """Raise InvalidArgumentError unless the files are a certificate and its key."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:
        raise InvalidArgumentError(f"{certificate} and {key} are not a certificate and its key: {error}") from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidArgumentError(f"cannot read {path}: {error.strerror}") from error
