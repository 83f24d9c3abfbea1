"""The Python client, synchronous and asyncio."""

from bitseg.client.asynchronous import AsyncClient
from bitseg.client.connection import Credentials
from bitseg.client.synchronous import Client

__all__ = ["AsyncClient", "Client", "Credentials"]
