"""The state of one shard and what is served from it."""
