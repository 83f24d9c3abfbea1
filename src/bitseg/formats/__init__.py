"""Files to batches of operations and back: JSONL in the Segment spec, CSV and Parquet with a column mapping."""
