"""How much memory is left."""

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_LIMIT = Path("/sys/fs/cgroup/memory.max")
_USED = Path("/sys/fs/cgroup/memory.current")
# Stands for "no limit" where the system does not tell.
_UNKNOWN_BYTES = 2**62


def available_bytes() -> int:
    """Bytes that this process may still allocate: what the machine or the control group has left, the smaller."""
    return min(_machine_bytes(), _group_bytes())


def _machine_bytes() -> int:
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return _UNKNOWN_BYTES
    sizes = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return int(next(sizes, _UNKNOWN_BYTES // 1024)) * 1024


def _group_bytes() -> int:
    try:
        limit, used = _LIMIT.read_text().strip(), _USED.read_text().strip()
    except OSError:
        return _UNKNOWN_BYTES
    return max(int(limit) - int(used), 0) if limit.isdigit() else _UNKNOWN_BYTES
