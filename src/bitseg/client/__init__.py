"""The Python client, synchronous and asyncio."""

from bitseg.client.aio import AsyncClient
from bitseg.client.connection import Credentials
from bitseg.client.producer import AsyncProducer, Producer
from bitseg.client.sync import Client

__all__ = ["AsyncClient", "AsyncProducer", "Client", "Credentials", "Producer"]
