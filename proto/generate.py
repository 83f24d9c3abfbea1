"""Write the Python code of the protocol into src/bitseg/pb, or tell with --check whether it is fresh."""

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent
TARGET = PROTO.parent / "src" / "bitseg" / "pb"


def generate() -> dict[str, str]:
    """The generated modules: file name to text."""
    sources = sorted(str(path) for path in PROTO.glob("bitseg/v1/*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        status = protoc.main(
            [
                "protoc",
                f"-I{PROTO}",
                f"-I{files('grpc_tools') / '_proto'}",
                f"--python_out={folder}",
                f"--pyi_out={folder}",
                f"--grpc_python_out={folder}",
                *sources,
            ]
        )
        if status:
            raise SystemExit("protoc failed")
        written = Path(folder, "bitseg", "v1")
        # protoc derives import paths from the proto package; the modules live in bitseg.pb.
        return {
            path.name: path.read_text().replace("from bitseg.v1 import", "from bitseg.pb import")
            for path in written.iterdir()
            if path.stat().st_size and not _empty_service(path)
        }


def _empty_service(path: Path) -> bool:
    return path.name.endswith("_pb2_grpc.py") and "_to_server" not in path.read_text()


def main() -> None:
    modules = generate()
    present = {path.name: path.read_text() for path in TARGET.glob("*_pb2*")}
    if "--check" in sys.argv:
        stale = sorted(name for name in modules | present if modules.get(name) != present.get(name))
        if stale:
            raise SystemExit(f"stale generated code, run make proto: {', '.join(stale)}")
        return
    for name in present.keys() - modules.keys():
        (TARGET / name).unlink()
    for name, text in modules.items():
        (TARGET / name).write_text(text)


if __name__ == "__main__":
    main()
