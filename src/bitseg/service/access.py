"""Roles, and the role that each method needs."""

from enum import IntEnum

from bitseg.errors import InvalidArgumentError


class Role(IntEnum):
    """What a caller may do. A role includes all roles below it."""

    READER = 1
    WRITER = 2
    ADMIN = 3

    @classmethod
    def named(cls, name: str) -> "Role":
        """The role with a lower-case name; InvalidArgumentError for any other name."""
        try:
            return cls[name.upper()]
        except KeyError:
            raise InvalidArgumentError(f"{name!r} is not a role", hint=f"use {', '.join(ROLE_NAMES)}") from None

    @property
    def title(self) -> str:
        """The lower-case name."""
        return self.name.lower()


ROLE_NAMES = tuple(role.title for role in Role)

# The role that a caller needs; None for methods without a role. Methods without an entry are refused.
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

# These need no credentials, and are answered without authentication.
OPEN_METHODS = frozenset(method for method, role in METHOD_ROLES.items() if role is None)
