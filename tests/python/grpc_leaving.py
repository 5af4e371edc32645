"""A gRPC call whose answer has no end, until its instance goes away: `server ADDRESS`, `client ADDRESS`. The client prints how it ends."""

import sys
import threading

import grpc

METHOD = "/laneway.Endless/Count"


def count(request, context):
    yield b"0"
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait(60)


def server(address):
    running = grpc.server(__import__("concurrent.futures").futures.ThreadPoolExecutor(4))
    handlers = {"Count": grpc.unary_stream_rpc_method_handler(count)}
    running.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("laneway.Endless", handlers),))
    assert running.add_insecure_port(address)
    running.start()
    running.wait_for_termination(60)


def client(address):
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_stream(METHOD)(b"", timeout=60)
        try:
            for message in call:
                print("said", message.decode(), flush=True)
            print("ended whole", flush=True)
        except grpc.RpcError as error:
            print("ended", error.code().name, error.details(), flush=True)


{"server": server, "client": client}[sys.argv[1]](sys.argv[2])
