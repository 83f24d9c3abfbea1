"""Files to batches of operations: JSONL in the Segment spec, CSV and Parquet with a column mapping."""
