"""One part of a workspace, or all of it: its state, the one writer, ingest, snapshots and streams of members."""
