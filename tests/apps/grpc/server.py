"""A gRPC service whose messages are plain bytes: no generated code."""

import os
import signal
import time
from concurrent import futures
from pathlib import Path

import grpc

MESSAGE = Path(__file__).with_name("message").read_bytes().strip()


def echo(request, context):
    context.send_initial_metadata([("x-asked", dict(context.invocation_metadata()).get("x-asks", ""))])
    context.set_trailing_metadata([("x-length", str(len(request))), ("x-raw-bin", b"\0\xff")])
    return request


def message(_request, _context):
    return MESSAGE


def count(request, _context):
    for number in range(int(request)):
        yield str(number).encode()


def add(requests, _context):
    return str(sum(int(request) for request in requests)).encode()


def chat(requests, _context):
    for request in requests:
        yield request.upper()


def fail(request, context):
    context.set_trailing_metadata([("x-why", "tested")])
    context.abort(grpc.StatusCode.NOT_FOUND, "nothing called " + request.decode() + ": ä")


def fail_late(request, context):
    yield request
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "enough")


def sleep(request, context):
    end = time.monotonic() + float(request)
    while time.monotonic() < end and context.is_active():
        time.sleep(0.05)
    return b"slept"


server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("Probe", {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Message": grpc.unary_unary_rpc_method_handler(message),
    "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Add": grpc.stream_unary_rpc_method_handler(add),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
})])
server.add_insecure_port("0.0.0.0:" + os.environ["PORT"])
server.start()
signal.signal(signal.SIGTERM, lambda *_: server.stop(20))
server.wait_for_termination()
