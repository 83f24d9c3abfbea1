"""The services of the protocol, which a server implements and a client calls."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor, ServiceDescriptor

from bitseg.pb import (
    admin_pb2,
    admin_pb2_grpc,
    catalog_pb2,
    catalog_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    query_pb2,
    query_pb2_grpc,
)


@dataclass(frozen=True, slots=True)
class Service:
    """A service: its descriptor, the function that adds its handlers to a server, and the class of its stub."""

    descriptor: ServiceDescriptor
    add_to_server: Callable[[Any, Any], None]
    stub: Callable[[Any], Any]

    @property
    def name(self) -> str:
        """The short name, as in QueryService."""
        return str(self.descriptor.name)

    @property
    def full_name(self) -> str:
        """The name with its package, as in bitseg.v1.QueryService."""
        return str(self.descriptor.full_name)

    def path(self, method: str) -> str:
        """The path of one of the service's methods, as in /bitseg.v1.QueryService/Count; KeyError if it has none."""
        return f"/{self.full_name}/{self.descriptor.methods_by_name[method].name}"


def _service(file: FileDescriptor, add_to_server: Callable[[Any, Any], None], stub: Callable[[Any], Any]) -> Service:
    (descriptor,) = file.services_by_name.values()
    return Service(descriptor, add_to_server, stub)


QUERY = _service(
    query_pb2.DESCRIPTOR, query_pb2_grpc.add_QueryServiceServicer_to_server, query_pb2_grpc.QueryServiceStub
)
INGEST = _service(
    ingest_pb2.DESCRIPTOR, ingest_pb2_grpc.add_IngestServiceServicer_to_server, ingest_pb2_grpc.IngestServiceStub
)
CATALOG = _service(
    catalog_pb2.DESCRIPTOR, catalog_pb2_grpc.add_CatalogServiceServicer_to_server, catalog_pb2_grpc.CatalogServiceStub
)
ADMIN = _service(
    admin_pb2.DESCRIPTOR, admin_pb2_grpc.add_AdminServiceServicer_to_server, admin_pb2_grpc.AdminServiceStub
)

SERVICES = (QUERY, INGEST, CATALOG, ADMIN)


def methods() -> Iterator[MethodDescriptor]:
    """Every method of every service."""
    for service in SERVICES:
        yield from service.descriptor.methods
