"""Opaque tokens: a few bytes that a caller returns unchanged, as URL-safe base64 with a checksum.

A token is the payload followed by 4 bytes of CRC-32C, little-endian, over the token's kind and the payload. The
checksum detects tokens that were cut, mistyped or made for another purpose. It is not a signature: a caller can forge
a token, so the reader must check the payload.
"""

import base64
import struct

import google_crc32c

_CHECKSUM = struct.Struct("<I")


def make_token(kind: bytes, payload: bytes) -> str:
    """The token of a payload; only `read_token` with the same kind accepts it."""
    return base64.urlsafe_b64encode(payload + _checksum(kind, payload)).decode()


def read_token(kind: bytes, token: str) -> bytes:
    """The payload of a token; ValueError for a token that `make_token` did not make for this kind."""
    packed = base64.b64decode(token, altchars=b"-_", validate=True)
    payload, checksum = packed[: -_CHECKSUM.size], packed[-_CHECKSUM.size :]
    if checksum != _checksum(kind, payload):
        raise ValueError("the checksum of the token does not match")
    return payload


def _checksum(kind: bytes, payload: bytes) -> bytes:
    return _CHECKSUM.pack(google_crc32c.value(kind + b"\0" + payload))
