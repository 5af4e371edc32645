"""Calls all forms of grpc_server.py and says `ok` if every answer, trailer and error is as a direct call would give it."""

import queue
import sys

import grpc

NAME = "/laneway.tests.v1.Forms/"
TIMEOUT = 15


def equal(got, expected, what):
    if got != expected:
        sys.exit(f"{what}: got {got!r}, expected {expected!r}")


def check_metadata(call, tag, blob):
    initial, trailing = dict(call.initial_metadata()), dict(call.trailing_metadata())
    equal(initial.get("x-seen-tag"), tag, "tag that the server saw")
    equal(initial.get("x-seen-blob"), str(len(blob)), "binary metadata that the server saw")
    equal(trailing.get("x-trailer"), "after-the-body", "trailer")
    equal(trailing.get("x-trailer-bin"), b"\x00\xff\x01", "binary trailer")


def main():
    target, tag = sys.argv[1], sys.argv[2]
    blob = bytes(range(256))
    metadata = (("x-blob-bin", blob),) + ((("x-mse-tag", tag),) if tag != "none" else ())
    channel = grpc.insecure_channel(target, options=[("grpc.max_receive_message_length", 64 << 20)])
    grpc.channel_ready_future(channel).result(TIMEOUT)
    options = {"metadata": metadata, "timeout": TIMEOUT}

    for size in (0, 5, 100_000, 3 << 20):
        answer, call = channel.unary_unary(NAME + "Unary").with_call(b"ab" * (size // 2), **options)
        equal(answer, b"ba" * (size // 2), f"unary of {size} bytes")
        check_metadata(call, tag, blob)

    call = channel.unary_stream(NAME + "ServerStream")(b"1000", **options)
    equal(list(call), [b"%d" % number for number in range(1000)], "server stream")
    check_metadata(call, tag, blob)

    answer, call = channel.stream_unary(NAME + "ClientStream").with_call((b"%d" % n for n in range(1000)), **options)
    equal(answer, b",".join(b"%d" % number for number in range(1000)), "client stream")
    check_metadata(call, tag, blob)

    # One at a time, each asked only after the answer before came: nothing may wait for the end of the stream.
    asked = queue.Queue()
    call = channel.stream_stream(NAME + "Both")(iter(asked.get, None), **options)
    for number in range(50):
        asked.put(b"%d" % number)
        equal(next(call), b"echo %d" % number, "both ways")
    asked.put(None)
    equal(list(call), [], "both ways, the end")
    check_metadata(call, tag, blob)

    try:
        channel.unary_unary(NAME + "Fail")(b"", **options)
        sys.exit("Fail did not fail")
    except grpc.RpcError as error:
        equal(error.code(), grpc.StatusCode.NOT_FOUND, "code of an error")
        equal(error.details(), "no such thing: “ünïcode”", "message of an error")
        equal(dict(error.trailing_metadata()).get("x-reason"), "asked-for", "trailer of an error")

    call = channel.unary_stream(NAME + "FailLate")(b"", **options)
    equal(next(call), b"first", "before a late error")
    try:
        next(call)
        sys.exit("FailLate did not fail")
    except grpc.RpcError as error:
        equal(error.code(), grpc.StatusCode.DATA_LOSS, "code of a late error")

    try:
        channel.unary_unary(NAME + "Slow")(b"", timeout=0.3)
        sys.exit("Slow was not cut off")
    except grpc.RpcError as error:
        equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED, "code of a deadline")

    try:
        channel.unary_unary(NAME + "NoSuchMethod")(b"", **options)
        sys.exit("an unknown method answered")
    except grpc.RpcError as error:
        equal(error.code(), grpc.StatusCode.UNIMPLEMENTED, "code of an unknown method")

    calls = [channel.unary_unary(NAME + "Unary").future(b"%d" % number, **options) for number in range(200)]
    equal([call.result() for call in calls], [(b"%d" % number)[::-1] for number in range(200)], "200 calls at a time")
    print("ok")


main()
