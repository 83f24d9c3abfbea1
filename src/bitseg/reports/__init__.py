"""Reports over segments: partial results per shard, merged into one."""
