"""Who may call what: the table of all methods, and who callers are."""

from collections.abc import Iterable
from dataclasses import dataclass

from bitseg.errors import InvalidArgumentError, PermissionDeniedError, UnauthenticatedError
from bitseg.service.settings import Role, Settings, is_loopback
from bitseg.service.tokens import Token, TokenChecker

# The role that each method asks for; None lets everybody. What is not here is refused.
METHOD_ROLES: dict[str, Role | None] = {
    "/bitseg.v1.QueryService/Count": Role.READER,
    "/bitseg.v1.QueryService/BatchCount": Role.READER,
    "/bitseg.v1.QueryService/Evaluate": Role.READER,
    "/bitseg.v1.QueryService/StreamMembers": Role.READER,
    "/bitseg.v1.QueryService/ExplainUser": Role.READER,
    "/bitseg.v1.QueryService/GetUser": Role.READER,
    "/bitseg.v1.QueryService/ListUserSegments": Role.READER,
    "/bitseg.v1.IngestService/IngestBatch": Role.WRITER,
    "/bitseg.v1.IngestService/Ingest": Role.WRITER,
    "/bitseg.v1.CatalogService/CreateSegment": Role.WRITER,
    "/bitseg.v1.CatalogService/GetSegment": Role.READER,
    "/bitseg.v1.CatalogService/ListSegments": Role.READER,
    "/bitseg.v1.CatalogService/UpdateSegment": Role.WRITER,
    "/bitseg.v1.CatalogService/RenameSegment": Role.WRITER,
    "/bitseg.v1.CatalogService/CloneSegment": Role.WRITER,
    "/bitseg.v1.CatalogService/DeleteSegment": Role.WRITER,
    "/bitseg.v1.CatalogService/CreateList": Role.WRITER,
    "/bitseg.v1.CatalogService/UploadList": Role.WRITER,
    "/bitseg.v1.CatalogService/GetList": Role.READER,
    "/bitseg.v1.CatalogService/ListLists": Role.READER,
    "/bitseg.v1.CatalogService/UpdateList": Role.WRITER,
    "/bitseg.v1.CatalogService/RenameList": Role.WRITER,
    "/bitseg.v1.CatalogService/DeleteList": Role.WRITER,
    "/bitseg.v1.AdminService/CreateSnapshot": Role.ADMIN,
    "/bitseg.v1.AdminService/CreateBackup": Role.ADMIN,
    "/bitseg.v1.AdminService/GetStatistics": Role.READER,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Role.READER,
    "/grpc.health.v1.Health/Check": None,
    "/grpc.health.v1.Health/List": None,
    "/grpc.health.v1.Health/Watch": None,
}

_SCHEME = "bearer "
_HOW = (
    "send authorization: Bearer TOKEN, as bitseg token create printed it; "
    "the commands take it from BITSEG_TOKEN or --token-file"
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: by which token, if any, and with which role."""

    name: str
    role: Role
    token: Token | None = None


class Access:
    """Decides over calls by their metadata.

    Raises InvalidArgumentError for settings that would let in whom nobody meant to let in.
    """

    def __init__(self, settings: Settings) -> None:
        self._checker = None if settings.tokens is None else TokenChecker(settings.tokens)
        self._certificate_role = settings.certificate_role if settings.tls_client_ca is not None else None
        if settings.insecure or is_loopback(settings.address):
            return
        if not self._asks_for_tokens and self._certificate_role is None:
            raise InvalidArgumentError(
                f"other machines reach {settings.address}, and nobody would have to show credentials",
                hint="make a token with bitseg token create, or set --tls-client-ca; --insecure lets everybody in",
            )
        if settings.tls_certificate is None:
            raise InvalidArgumentError(
                f"other machines reach {settings.address}, and tokens and data would not be encrypted on their way",
                hint="set --tls-certificate and --tls-key; --insecure does without",
            )

    @property
    def _asks_for_tokens(self) -> bool:
        return self._checker is not None and self._checker.has_tokens

    def admit(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """The caller of a method, who may call it; UnauthenticatedError or PermissionDeniedError."""
        if method not in METHOD_ROLES:
            raise PermissionDeniedError(f"nobody may call {method}")
        role = METHOD_ROLES[method]
        caller = Caller("anybody", Role.READER) if role is None else self._caller(metadata)
        if role is not None and caller.role < role:
            raise PermissionDeniedError(
                f'{method} needs the role {role.title}, and "{caller.name}" is {caller.role.title}',
                hint="ask whoever runs the server for a token with that role",
            )
        return caller

    def require_valid(self, caller: Caller) -> None:
        """Raise UnauthenticatedError where the token of a call that goes on was revoked."""
        if caller.token is not None and self._checker is not None and not self._checker.is_valid(caller.token):
            raise UnauthenticatedError(f'the token "{caller.name}" was revoked')

    def _caller(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        given = next((value for key, value in metadata if key == "authorization"), None)
        if given is not None and self._checker is not None:
            text = given if isinstance(given, str) else given.decode(errors="replace")
            token = self._checker.find(text[len(_SCHEME) :]) if text[: len(_SCHEME)].lower() == _SCHEME else None
            if token is not None:
                return Caller(token.name, token.role, token)
            if self._asks_for_tokens:
                raise UnauthenticatedError("the token is not valid", hint=_HOW)
        if self._certificate_role is not None:
            return Caller("certificate", self._certificate_role)
        if self._asks_for_tokens:
            raise UnauthenticatedError("there is no token", hint=_HOW)
        return Caller("anybody", Role.ADMIN)
