"""Mirrors that misbehave: a server on this machine, from which the data set is downloaded."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from torture.case import LOST, OTHER, Fault, Result, Try, content_of, faults_of, result_of
from torture.process import python, started
from torture.world import World

LIMIT_S = 100.0
"""Longest wait for a mirror that is slow on purpose."""

Send = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers every request in the server's own way."""

    def __init__(self, send: Send, *arguments: object) -> None:
        self.send = send
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Misbehave; that the other side leaves is no error here."""
        self.close_connection = True
        with suppress(OSError):
            self.send(self)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def answer(
    handler: Handler, content: bytes, *, code: int = 200, length: int | None = None, **headers: str
) -> None:
    """Send a whole answer; `length` is what the header claims, and -1 leaves it out."""
    handler.send_response(code)
    if length != -1:
        handler.send_header("Content-Length", str(len(content) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


def drips(handler: Handler) -> None:
    """A byte each 0.2 s: never so slow that a read times out."""
    handler.send_response(200)
    handler.send_header("Content-Length", "9912422")
    handler.end_headers()
    while True:
        handler.wfile.write(b"\x1f")
        handler.wfile.flush()
        time.sleep(0.2)


def drips_its_headers(handler: Handler) -> None:
    """Headers without end, one each 0.2 s."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(10**6):
        handler.wfile.write(f"X-{number}: x\r\n".encode())
        handler.wfile.flush()
        time.sleep(0.2)


def never_ends(handler: Handler) -> None:
    """As many bytes as the other side takes."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 20))


def says_nothing(handler: Handler) -> None:
    """Takes the request and stays silent."""
    del handler
    time.sleep(LIMIT_S)


def stops_half_way(handler: Handler) -> None:
    """Half of what was announced, then silence."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(bytes(50_000))
    handler.wfile.flush()
    time.sleep(LIMIT_S)


def redirects(handler: Handler, target: str) -> None:
    """To another address."""
    answer(handler, b"", code=302, Location=target)


def raw(handler: Handler, content: bytes) -> None:
    """Bytes that are no proper answer."""
    handler.wfile.write(content)


def chunks(handler: Handler, content: bytes) -> None:
    """Chunked transfer with a body that is broken."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + content)


def bomb(handler: Handler) -> None:
    """Few megabytes of gzip that unpack to 9 GiB."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = squeeze.compress(bytes(2**24)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    answer(handler, b"\x1f\x8b\x08" + bytes(6) + b"\x03" + block * 9 * 64)


def of_zeros() -> bytes:
    """A gzip file of another content."""
    return gzip.compress(bytes(9000))


WAYS: dict[str, Send] = {
    "drips": drips,
    "drips its headers": drips_its_headers,
    "never ends": never_ends,
    "says nothing": says_nothing,
    "stops half-way": stops_half_way,
    "closes at once": lambda _: None,
    "closes early": partial(answer, content=bytes(500), length=100_000),
    "sends more than announced": partial(answer, content=bytes(100_000), length=500),
    "announces nothing": partial(answer, content=of_zeros(), length=-1),
    "announces a negative length": partial(answer, content=of_zeros(), length=-7),
    "announces 8 EB": partial(answer, content=of_zeros(), length=2**63),
    "400": partial(answer, content=b"bad", code=400),
    "401": partial(answer, content=b"who?", code=401, WWW_Authenticate="Basic"),
    "403": partial(answer, content=b"no", code=403),
    "404": partial(answer, content=b"<html>\x1b[2J nothing here</html>", code=404),
    "429": partial(answer, content=b"", code=429, Retry_After="99999"),
    "500": partial(answer, content=b"oh", code=500),
    "503": partial(answer, content=b"", code=503, Retry_After="99999"),
    "a wrong hash": partial(answer, content=of_zeros()),
    "a web page": partial(answer, content=b"<html>log in first</html>"),
    "an empty answer": partial(answer, content=b""),
    "half a gzip file": partial(answer, content=of_zeros()[:20]),
    "noise": partial(answer, content=bytes(range(256)) * 99),
    "gzip within gzip": partial(answer, content=gzip.compress(of_zeros()), Content_Encoding="gzip"),
    "an unknown encoding": partial(answer, content=of_zeros(), Content_Encoding="br"),
    "a gzip bomb": bomb,
    "redirects to itself": partial(redirects, target="/train-images-idx3-ubyte.gz"),
    "redirects to a file": partial(redirects, target="file:///etc/passwd"),
    "redirects to nowhere": partial(redirects, target="http://127.0.0.1:1/"),
    "redirects to nothing": partial(redirects, target=""),
    "no HTTP": partial(raw, content=b"SSH-2.0-OpenSSH_9.6\r\n"),
    "HTTP of another version": partial(raw, content=b"HTTP/9.9 200 OK\r\n\r\n"),
    "a header of 1 MB": partial(raw, content=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10**6),
    "escape codes in the status": partial(raw, content=b"HTTP/1.1 404 \x1b[2J\x1b]0;t\x07\r\n\r\n"),
    "chunks of a wrong size": partial(chunks, content=b"zz\r\nnoise"),
    "a chunk of 8 EB": partial(chunks, content=b"7fffffffffffffff\r\nnoise"),
}


@contextmanager
def served(send: Send) -> Iterator[str]:
    """A server on this machine; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, send))
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def deaf() -> Iterator[str]:
    """An address at which connections are never taken."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"


@dataclass(frozen=True)
class Network:
    """A mirror that misbehaves. `data` is asked of it, and must end with an error that names it."""

    name: str
    send: Send | None

    def run(self, world: World) -> Result:
        """Download with an empty cache, which must be empty afterwards."""
        with world.copied() as folder, served(self.send) if self.send else deaf() as address:
            before = content_of(folder / "precious")
            words = ("data", "--dataset", "mnist", "--mirror", address)
            attempt = Try(words, names=address.rpartition(":")[2], limit_s=LIMIT_S)
            changes = {"MNIST_MLP_DATA": None, "no_proxy": "*"}
            answer = started(
                python(*words),
                folder=folder,
                environment=world.environment(folder, changes),
                limit_s=LIMIT_S,
            )
            found = faults_of(attempt, answer)
            if content_of(folder / "precious") != before:
                found.insert(0, Fault(LOST, "files of the user were touched"))
            cached = sorted(path.name for path in (folder / "cache").rglob("*") if path.is_file())
            if cached:
                found.append(Fault(OTHER, f"the cache holds {', '.join(cached)}"))
        return result_of(self.name, [(words, answer, found)])


def cases() -> list[Network]:
    """All of them, and one that takes no connection."""
    return [*(Network(name, send) for name, send in WAYS.items()), Network("deaf", None)]
