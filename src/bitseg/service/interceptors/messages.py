"""Passes messages between the peer and the handler of a call, and reports waits for the peer to the StallDetector."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from bitseg.errors import CancelledError, InvalidArgumentError
from bitseg.service.interceptors.call import Call, Endpoint, Method
from bitseg.service.interceptors.deadlines import GIVEN_UP, require_active
from bitseg.service.streams import StallDetector


def endpoint(method: Method, behaviour: Callable[..., Any], stalls: StallDetector) -> Endpoint:
    """The innermost endpoint of a method, which calls a handler's behaviour."""
    receive = all_requests if method.streams_requests else only_request

    def answer(_: Call, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        return behaviour(receive(requests, context, stalls), context)

    def respond(_: Call, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for response in behaviour(receive(requests, context, stalls), context):
            with stalls.waiting_for_peer(context):
                yield response

    return respond if method.streams_responses else answer


def only_request(requests: Iterator[Any], context: grpc.ServicerContext, stalls: StallDetector) -> Any:
    """The only request of a call; InvalidArgumentError if there is no request, CancelledError if the call has ended."""
    try:
        with stalls.waiting_for_peer(context):
            request = next(requests, None)
    except grpc.RpcError:
        raise CancelledError(GIVEN_UP) from None
    if request is None:
        raise InvalidArgumentError("the call has no request")
    return request


def all_requests(requests: Iterator[Any], context: grpc.ServicerContext, stalls: StallDetector) -> Iterator[Any]:
    """The requests of a stream.

    The time between requests is not limited. Raises NotReadyError if the server stops, so that the handler does not
    mistake the requests so far for all of them.
    """
    while True:
        try:
            with stalls.waiting_for_request(context):
                request = next(requests, None)
        except grpc.RpcError:
            raise CancelledError(GIVEN_UP) from None
        if request is None:
            return
        require_active(context)
        yield request
