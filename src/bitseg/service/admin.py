"""AdminService: check, call, convert."""

from pathlib import Path

import grpc

from bitseg.errors import InvalidArgumentError
from bitseg.pb import admin_pb2, admin_pb2_grpc
from bitseg.results import SnapshotResult
from bitseg.service.readiness import Readiness
from bitseg.wire.statistics import to_statistics
from bitseg.wire.timestamps import to_duration


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """Takes snapshots and backups of an engine, and returns its statistics."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    def CreateSnapshot(  # noqa: N802
        self, request: admin_pb2.CreateSnapshotRequest, context: grpc.ServicerContext
    ) -> admin_pb2.CreateSnapshotResponse:
        return admin_pb2.CreateSnapshotResponse(snapshot=_message(self._readiness.engine.snapshot()))

    def CreateBackup(  # noqa: N802
        self, request: admin_pb2.CreateBackupRequest, context: grpc.ServicerContext
    ) -> admin_pb2.CreateBackupResponse:
        directory = Path(request.directory)
        if not directory.is_absolute():
            raise InvalidArgumentError(
                f"{request.directory!r} is not an absolute path",
                hint="name a directory on the server's machine, starting with /",
            )
        return admin_pb2.CreateBackupResponse(snapshot=_message(self._readiness.engine.backup(directory)))

    def GetStatistics(  # noqa: N802
        self, request: admin_pb2.GetStatisticsRequest, context: grpc.ServicerContext
    ) -> admin_pb2.GetStatisticsResponse:
        engine = self._readiness.engine
        return admin_pb2.GetStatisticsResponse(
            statistics=to_statistics(engine.statistics()), timezone=engine.calendar.zone_name
        )


def _message(result: SnapshotResult) -> admin_pb2.Snapshot:
    return admin_pb2.Snapshot(version=result.version, size_bytes=result.size_bytes, elapsed=to_duration(result.seconds))
