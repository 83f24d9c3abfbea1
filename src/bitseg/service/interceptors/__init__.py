"""Interceptors of every call, one concern per module; `pipeline` orders them."""
