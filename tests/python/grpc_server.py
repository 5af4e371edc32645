"""A gRPC server with all four streaming forms, metadata, trailers and errors; bytes in, bytes out, no generated code."""

import sys
import threading
from concurrent import futures

import grpc

NAME = "laneway.tests.v1.Forms"


def seen(context):
    """What the caller's metadata said, sent back as initial metadata."""
    metadata = dict(context.invocation_metadata())
    context.send_initial_metadata((
        ("x-seen-tag", metadata.get("x-mse-tag", "none")),
        ("x-seen-blob", str(len(metadata.get("x-blob-bin", b"")))),
    ))
    context.set_trailing_metadata((("x-trailer", "after-the-body"), ("x-trailer-bin", b"\x00\xff\x01")))


def unary(request, context):
    seen(context)
    return request[::-1]


def server_stream(request, context):
    seen(context)
    for number in range(int(request)):
        yield b"%d" % number


def client_stream(requests, context):
    seen(context)
    return b",".join(requests)


def both(requests, context):
    seen(context)
    for request in requests:
        yield b"echo " + request


def fail(request, context):
    context.set_trailing_metadata((("x-reason", "asked-for"),))
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: “ünïcode”")


def fail_late(request, context):
    yield b"first"
    context.abort(grpc.StatusCode.DATA_LOSS, "broke in the middle")


def slow(request, context):
    threading.Event().wait(30)
    return b""


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), options=[("grpc.max_receive_message_length", 64 << 20)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
        "Slow": grpc.unary_unary_rpc_method_handler(slow),
    }),))
    for address in sys.argv[1:]:
        if server.add_insecure_port(address) == 0:
            sys.exit(f"cannot listen on {address}")
    server.start()
    print("listening", flush=True)
    server.wait_for_termination()


main()
