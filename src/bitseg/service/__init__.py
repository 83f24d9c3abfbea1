"""The gRPC server: one module per service."""
