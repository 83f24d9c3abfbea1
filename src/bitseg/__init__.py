"""bitseg: exact, live user segments from bitmaps.

`bitseg.engine.Engine` embeds a workspace, `bitseg.client` calls a server, `bitseg.segment` parses and formats segments,
and `bitseg.ops` has the operations that both ingest.
"""
