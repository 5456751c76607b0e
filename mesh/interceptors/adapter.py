"""The one interceptor: knows gRPC's four arities, maps errors, and keeps streams inside the chain.

grpc-interceptor's `intercept` returns before the body of a response stream has run, so an except clause around it would see neither
its errors nor its end; here streams are wrapped by a generator of our own. A handler is wrapped once per method, not once per call.

A stream ends with the credential that opened it, whichever side streams.

The text of an unexpected exception may quote a value, so that of a method with secret fields is told by its places only.

Cancellation is recorded as CANCELLED and passed on: `CancelledError` is a BaseException and must never look like success.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn, cast

import grpc
import grpc.aio
from grpc_interceptor.server import AsyncServerInterceptor
from loguru import logger

from mesh.clock import Clock
from mesh.context import Call, set_call
from mesh.contract import MethodPolicy
from mesh.errors import DeadlineExceeded, Internal, MeshError, Unauthenticated, Unimplemented
from mesh.ids import new_id
from mesh.interceptors.chain import Chain, ServicerContext
from mesh.interceptors.request import call_from
from mesh.interceptors.stages import validated
from mesh.status import DETAILS_KEY, to_status
from mesh.telemetry.last_words import places

INFRASTRUCTURE = ("/grpc.health.v1.", "/grpc.reflection.", "/grpc.channelz.")
"""gRPC's own services. They carry no data of ours; the mesh port's mutual TLS is their guard."""

Behaviour = Callable[[Any, ServicerContext], Any]


class MeshInterceptor(AsyncServerInterceptor):
    """Runs the chain around every method that the contract describes."""

    def __init__(self, chain: Chain, policies: dict[str, MethodPolicy], clock: Clock) -> None:
        self._chain = chain
        self._policies = policies
        self._clock = clock
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The method's handler inside the chain, made at its first call."""
        path = handler_call_details.method
        wrapped = self._wrapped.get(path)
        if wrapped is not None:
            return wrapped
        handler: grpc.RpcMethodHandler[Any, Any] | None = await continuation(handler_call_details)
        if handler is None or path.startswith(INFRASTRUCTURE):
            return handler
        policy = self._policies.get(path)
        if policy is None:
            logger.bind(method=path).error("method without access rule refused; this is a bug")
            return None
        wrapped = self._wrapped[path] = self._wrap(handler, policy)
        return wrapped

    async def intercept(
        self, method: Behaviour, request_or_iterator: Any, context: ServicerContext, method_name: str
    ) -> Any:
        """Run a method with a single response inside the chain."""
        return await self._single(method, request_or_iterator, context, self._policies[method_name])

    def _wrap(
        self, handler: "grpc.RpcMethodHandler[Any, Any]", policy: MethodPolicy
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        arity = f"{'stream' if policy.request_streaming else 'unary'}_{'stream' if policy.response_streaming else 'unary'}"
        behaviour = cast(Behaviour, getattr(handler, arity))
        make = getattr(grpc, f"{arity}_rpc_method_handler")

        if policy.response_streaming:

            async def streamed(request: Any, context: ServicerContext) -> AsyncIterator[Any]:
                async for response in self._stream(behaviour, request, context, policy):
                    yield response

            wrapped: Any = streamed
        else:

            async def single(request: Any, context: ServicerContext) -> Any:
                return await self._single(behaviour, request, context, policy)

            wrapped = single
        return cast(
            "grpc.RpcMethodHandler[Any, Any]",
            make(
                wrapped,
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            ),
        )

    async def _single(
        self, behaviour: Behaviour, request: Any, context: ServicerContext, policy: MethodPolicy
    ) -> Any:
        call = call_from(context, policy, self._clock)
        set_call(call)
        try:
            request = await self._admit(call, request, context, policy)
            if policy.request_streaming:
                async with self._while_credential_holds(call):
                    response = await behaviour(request, context)
            elif call.guarded:
                response = await behaviour(request, context)
            else:
                async with asyncio.timeout(self._remaining(call)):
                    response = await behaviour(request, context)
            call.outcome = "OK"
            await self._chain.leave(call)
        except BaseException as error:
            await self._fail(call, error, context)
        finally:
            call.origin.detach()
        return response

    async def _stream(
        self, behaviour: Behaviour, request: Any, context: ServicerContext, policy: MethodPolicy
    ) -> AsyncIterator[Any]:
        call = call_from(context, policy, self._clock)
        set_call(call)
        try:
            request = await self._admit(call, request, context, policy)
            async with self._while_credential_holds(call):
                async for response in behaviour(request, context):
                    yield response
            call.outcome = "OK"
            await self._chain.leave(call)
        except BaseException as error:
            await self._fail(call, error, context)
        finally:
            call.origin.detach()

    async def _admit(self, call: Call, request: Any, context: ServicerContext, policy: MethodPolicy) -> Any:
        """What the handler may read once the chain has let the call in: messages of a stream are held against the contract as they come."""
        if not policy.request_streaming:
            await self._chain.enter(call, request, context)
            return request
        await self._chain.enter(call, None, context)
        return validated(request)

    def _remaining(self, call: Call) -> float | None:
        return None if call.deadline is None else max(0.0, call.deadline - self._clock.monotonic())

    @asynccontextmanager
    async def _while_credential_holds(self, call: Call) -> AsyncIterator[None]:
        """Ends what is done inside when the caller's credential ends or is revoked. Raises Unauthenticated then."""
        line = call.lifeline
        try:
            async with asyncio.timeout(self._credential_life(call)) as life:
                if line is not None:
                    line.hold(lambda: _end_now(life))
                try:
                    yield
                finally:
                    if line is not None:
                        line.release()
        except TimeoutError:
            if not life.expired():
                raise
            call.auth_fault = "revoked" if line is not None and line.is_cut else "not_now"
            raise Unauthenticated("TOKEN_INVALID", "the access token ended; sign in or refresh it") from None

    def _credential_life(self, call: Call) -> float | None:
        if call.principal is None:
            return None
        return max(0.0, (call.principal.expire_time - self._clock.now()).total_seconds())

    async def _fail(self, call: Call, error: BaseException, context: ServicerContext) -> NoReturn:
        """Record how the call ended and end it; never returns."""
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            call.outcome = "CANCELLED"
            await self._chain.leave(call)
            raise error
        told = self._told(error, call)
        call.outcome, call.reason = told.code, told.reason
        try:
            await self._chain.leave(call)
        except MeshError as failure:
            logger.bind(reason=failure.reason).error("outcome of a failed call not recorded")
        status = to_status(told)
        await context.abort(
            getattr(grpc.StatusCode, told.code),
            told.message,
            ((DETAILS_KEY, status.SerializeToString()), ("x-request-id", call.request_id)),
        )

    def _told(self, error: BaseException, call: Call) -> MeshError:
        """What the caller is told of `error`."""
        if isinstance(error, MeshError):
            return error
        if isinstance(error, NotImplementedError):
            return Unimplemented("NOT_IMPLEMENTED", "this version does not serve the method yet")
        if isinstance(error, TimeoutError):
            return DeadlineExceeded("DEADLINE_TOO_SHORT", "the call did not finish within its deadline")
        if not isinstance(error, Exception):
            raise error
        incident = new_id()
        log = logger.bind(incident=incident, method=call.path)
        if call.policy is None or call.policy.confidential:
            log.bind(**places(error)).error("unexpected exception")
        else:
            log.opt(exception=error).error("unexpected exception")
        return Internal("INTERNAL", f"internal error; incident {incident}", metadata={"incident": incident})


def _end_now(life: asyncio.Timeout) -> None:
    if not life.expired():
        life.reschedule(0)
