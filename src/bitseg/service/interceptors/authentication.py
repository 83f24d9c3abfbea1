"""Authenticates and authorizes callers, by token or client certificate, or everyone if neither is required."""

from collections.abc import Iterable, Iterator
from typing import Any

import grpc

from bitseg.errors import InvalidArgumentError, PermissionDeniedError, UnauthenticatedError
from bitseg.service.access import METHOD_ROLES, Role
from bitseg.service.interceptors.call import Call, Caller, Endpoint, Metadata, Method
from bitseg.service.settings import Settings, is_loopback
from bitseg.service.tokens import TokenChecker

_SCHEME = "bearer "
_HOW = (
    "send authorization: Bearer TOKEN, as bitseg token create printed it; "
    "the commands take it from BITSEG_TOKEN or --token-file"
)


class Authentication:
    """Admits callers by their metadata, and ends streams whose token was revoked.

    Raises InvalidArgumentError for settings that would expose the server without authentication.
    """

    def __init__(self, settings: Settings) -> None:
        self._checker = None if settings.tokens is None else TokenChecker(settings.tokens)
        self._certificate_role = settings.certificate_role if settings.tls_client_ca is not None else None
        if not settings.insecure and not is_loopback(settings.address):
            self._require_protection(settings)

    def admit(self, call: Call) -> Caller:
        """The caller, if it may call the method; UnauthenticatedError or PermissionDeniedError otherwise."""
        role = METHOD_ROLES.get(call.method)
        if role is None:
            raise PermissionDeniedError(f"nobody may call {call.method}")
        caller = self._caller(call.metadata)
        if caller.role < role:
            raise PermissionDeniedError(
                f'{call.method} needs the role {role.title}, and "{caller.name}" is {caller.role.title}',
                hint="ask the operator of the server for a token with that role",
            )
        return caller

    def wrap(self, method: Method, inner: Endpoint) -> Endpoint:
        """Check the token again for every message of a stream: after it was received, and after it was sent."""
        if method.streams_requests:
            inner = self._checking_requests(inner)
        return self._checking_responses(inner) if method.streams_responses else inner

    def _checking_requests(self, inner: Endpoint) -> Endpoint:
        def checked(call: Call, requests: Iterator[Any]) -> Iterator[Any]:
            for request in requests:
                self._require_valid(call)
                yield request

        return lambda call, requests, context: inner(call, checked(call, requests), context)

    def _checking_responses(self, inner: Endpoint) -> Endpoint:
        def respond(call: Call, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            for response in inner(call, requests, context):
                yield response
                self._require_valid(call)

        return respond

    def _require_valid(self, call: Call) -> None:
        caller, checker = call.caller, self._checker
        assert caller is not None
        if checker is not None and caller.token is not None and not checker.is_valid(caller.token):
            raise UnauthenticatedError(f'the token "{caller.name}" was revoked')

    def _caller(self, metadata: Metadata) -> Caller:
        token = None if self._checker is None else _bearer_token(metadata)
        if token is not None and self._checker is not None:
            valid = self._checker.find(token)
            if valid is not None:
                return Caller(valid.name, valid.role, valid)
            if self._requires_tokens:
                raise UnauthenticatedError("the token is not valid", hint=_HOW)
        if self._certificate_role is not None:
            return Caller("certificate", self._certificate_role)
        if self._requires_tokens:
            raise UnauthenticatedError("there is no token", hint=_HOW)
        return Caller("anybody", Role.ADMIN)

    @property
    def _requires_tokens(self) -> bool:
        return self._checker is not None and self._checker.has_tokens

    def _require_protection(self, settings: Settings) -> None:
        """Raise InvalidArgumentError if other machines can reach the server without credentials or encryption."""
        if not self._requires_tokens and self._certificate_role is None:
            raise InvalidArgumentError(
                f"other machines can reach {settings.address} without credentials",
                hint="make a token with bitseg token create, or set --tls-client-ca; --insecure allows it",
            )
        if settings.tls_certificate is None:
            raise InvalidArgumentError(
                f"other machines can reach {settings.address}, and tokens and data would not be encrypted",
                hint="set --tls-certificate and --tls-key; --insecure allows it",
            )


def _bearer_token(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    """The token of the authorization header: "" if the header has another scheme, None if there is no header."""
    header = next((value for key, value in metadata if key == "authorization"), None)
    if header is None:
        return None
    text = header if isinstance(header, str) else header.decode(errors="replace")
    return text[len(_SCHEME) :] if text[: len(_SCHEME)].lower() == _SCHEME else ""
