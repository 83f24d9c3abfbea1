"""Calls with a single answer, described once for both clients.

A function that makes a `Call` describes it completely: parameters, defaults, docstring, method, request, and the
conversion of the response. `unary` turns the function into a method of `Client`, which returns the answer, and of
`AsyncClient`, which returns an awaitable of it.
"""

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, Protocol, TypeVar, get_args, overload

from google.protobuf.message import Message

from bitseg.segment.nodes import Condition

P = ParamSpec("P")
Answer = TypeVar("Answer")
Query = str | Condition


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """A call.

    `as_of` becomes the field of that name; without an offset it is local to the workspace's zone. `query` is the text
    that a syntax error points into. A call that is not short has no deadline.
    """

    service: str
    method: str
    request: Message
    answer: Callable[[Any], Answer]
    query: Query | None = None
    as_of: datetime | None = None
    is_short: bool = True


class Caller(Protocol):
    """Makes calls."""

    def call(self, call: Call[Answer], /) -> Answer: ...


class AsyncCaller(Protocol):
    """Makes calls in an event loop."""

    async def call(self, call: Call[Answer], /) -> Answer: ...


class UnaryMethods:
    """The base of classes with `unary` methods; `is_async` says whether the class is an AsyncCaller."""

    is_async: ClassVar[bool] = False


class unary(Generic[P, Answer]):  # noqa: N801
    """A method that makes one call, with the parameters and the docstring of the function that describes it."""

    def __init__(self, describe: Callable[P, Call[Answer]]) -> None:
        def call(client: Any, *arguments: P.args, **options: P.kwargs) -> Answer:
            answer: Answer = client.call(describe(*arguments, **options))
            return answer

        async def async_call(client: Any, *arguments: P.args, **options: P.kwargs) -> Answer:
            answer: Answer = await client.call(describe(*arguments, **options))
            return answer

        self.__doc__ = describe.__doc__
        self._call, self._async_call = call, async_call
        signature = _method_signature(describe)
        for method in (call, async_call):
            vars(method)["__signature__"] = signature
            method.__doc__ = describe.__doc__
            method.__module__ = describe.__module__

    def __set_name__(self, owner: type, name: str) -> None:
        for method in (self._call, self._async_call):
            method.__name__, method.__qualname__ = name, f"{owner.__qualname__}.{name}"

    @overload
    def __get__(self, client: None, owner: type) -> Callable[Concatenate[Any, P], Any]: ...

    @overload
    def __get__(self, client: Caller, owner: type) -> Callable[P, Answer]: ...

    @overload
    def __get__(self, client: AsyncCaller, owner: type) -> Callable[P, Coroutine[Any, Any, Answer]]: ...

    def __get__(self, client: Any, owner: type[UnaryMethods]) -> Any:
        method = self._async_call if owner.is_async else self._call
        return method if client is None else method.__get__(client, owner)


def _method_signature(describe: Callable[..., object]) -> inspect.Signature:
    """The signature of a method: `self`, the parameters of the description, and the type of the answer."""
    signature = inspect.signature(describe)
    (answer,) = get_args(signature.return_annotation)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return signature.replace(parameters=[own, *signature.parameters.values()], return_annotation=answer)
