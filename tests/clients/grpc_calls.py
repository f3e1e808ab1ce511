"""A gRPC client of `tests/apps/grpc`, behind the server at HOST:PORT: each kind of call, then calls until the app's message is "two"."""

import queue
import sys

import grpc

channel = grpc.insecure_channel(sys.argv[1], options=[("grpc.default_authority", "blog.localhost")])
PATIENCE = 60


def call(kind, name):
    return getattr(channel, kind)("/Probe/" + name)


def error_of(answer):
    try:
        list(answer()) if callable(answer) else list(answer)
    except grpc.RpcError as error:
        return error
    raise AssertionError("no error")


def one_by_one():
    """Each is sent once the answer to the one before has come: nothing is held back."""
    asks = queue.Queue()
    answers = call("stream_stream", "Chat")(iter(asks.get, None), timeout=PATIENCE)
    for word in [b"first", b"second", b"x" * 1_000_000]:
        asks.put(word)
        assert next(answers) == word.upper()
    asks.put(None)
    assert list(answers) == [] and answers.code() == grpc.StatusCode.OK


def failures():
    error = error_of(lambda: call("unary_unary", "Fail")(b"this", timeout=PATIENCE))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "nothing called this: ä"), error
    assert ("x-why", "tested") in error.trailing_metadata(), error
    late = call("unary_stream", "FailLate")(b"some", timeout=PATIENCE)
    assert next(late) == b"some"
    error = error_of(late)
    assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "enough"), error
    error = error_of(lambda: call("unary_unary", "None")(b"", timeout=PATIENCE))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    error = error_of(lambda: call("unary_unary", "Sleep")(b"60", timeout=0.5))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error


def every_kind():
    large = bytes(range(256)) * 12_000
    answer, done = call("unary_unary", "Echo").with_call(large, timeout=PATIENCE, metadata=[("x-asks", "me")])
    assert answer == large and done.code() == grpc.StatusCode.OK
    assert ("x-asked", "me") in done.initial_metadata()
    trailers = dict(done.trailing_metadata())
    assert (trailers["x-length"], trailers["x-raw-bin"]) == (str(len(large)), b"\0\xff"), trailers
    counted = list(call("unary_stream", "Count")(b"5000", timeout=PATIENCE))
    assert counted == [str(number).encode() for number in range(5000)]
    assert call("stream_unary", "Add")((str(number).encode() for number in range(1000)), timeout=PATIENCE) == b"499500"
    one_by_one()


def until_two():
    messages = []
    while messages[-1:] != [b"two"]:
        messages.append(call("unary_unary", "Message")(b"", timeout=PATIENCE))
    assert sorted(set(messages)) == [b"one", b"two"] and messages == sorted(messages), "back to the old one"
    print(f"{len(messages)} calls", flush=True)


every_kind()
failures()
print("calling", flush=True)
until_two()
every_kind()
print("done", flush=True)
