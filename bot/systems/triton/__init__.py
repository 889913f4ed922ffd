"""Triton: its server over gRPC and HTTP, and the configuration of a model. Import what you need from its modules."""
