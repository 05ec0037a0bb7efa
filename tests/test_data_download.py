"""Downloading: only the right bytes enter the folder; an offline machine hears so soon."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from mnist_mlp.data import download, facts
from mnist_mlp.data.download import download_mnist
from mnist_mlp.data.idx import find_files, read_folder, write_idx
from mnist_mlp.data.load import load_dataset
from mnist_mlp.errors import DataError, SetupError, UsageError

MNIST_FOLDER = os.environ.get("MNIST_MLP_DATA")


class Mirror:
    """A folder served on localhost, and the files it was asked for."""

    def __init__(self, folder: Path) -> None:
        asked = self.asked = []

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                asked.append(self.path.rsplit("/", 1)[-1])

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Mirror]]:
    mirrors: list[Mirror] = []

    def start(folder: Path) -> Mirror:
        mirrors.append(Mirror(folder))
        return mirrors[-1]

    yield start
    for mirror in mirrors:
        mirror.close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror's folder with a small stand-in for MNIST, with its checksums as the known ones."""
    folder = tmp_path / "site"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in zip(facts.FILES, ((9, 28, 28), (9,), (4, 28, 28), (4,)), strict=True):
        write_idx(folder / "plain", rng.integers(0, 10, shape, dtype=np.uint8))
        content = (folder / "plain").read_bytes()
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        monkeypatch.setitem(facts.FILES, name, hashlib.md5(content).hexdigest())
    (folder / "plain").unlink()
    return folder


def files_in(folder: Path) -> list[str]:
    """Every file and folder below, so that a leftover of any kind is seen."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def dead_url() -> str:
    """An address on this machine at which nobody listens."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


def test_four_files_arrive_unpacked(
    site: Path, tmp_path: Path, serve: Callable[[Path], Mirror]
) -> None:
    mirror, said = serve(site), []
    used = download_mnist(tmp_path / "got", mirror=mirror.url.rstrip("/"), say=said.append)
    assert used == mirror.url
    assert files_in(tmp_path / "got") == sorted(facts.FILES)
    assert mirror.asked == [f"{name}.gz" for name in facts.FILES]
    assert said[0] == f"downloading train-images-idx3-ubyte from {mirror.url}"
    for got, sent in zip(read_folder(tmp_path / "got"), read_folder(site), strict=True):
        np.testing.assert_array_equal(got, sent)


@pytest.mark.skipif(MNIST_FOLDER is None, reason="MNIST_MLP_DATA is not set")
def test_the_real_files_pass_the_known_checksums(
    tmp_path: Path, serve: Callable[[Path], Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    for name, file in zip(facts.FILES, find_files(Path(str(MNIST_FOLDER))), strict=True):
        (folder / f"{name}.gz").symlink_to(file)
    mirror = serve(folder)
    monkeypatch.delenv("MNIST_MLP_DATA")
    monkeypatch.setenv("MNIST_MLP_CACHE", str(tmp_path / "cache"))
    first = load_dataset("mnist", mirror=mirror.url)
    assert (first.name, first.source) == ("mnist", f"download from {mirror.url}")
    assert first.digest == facts.MNIST_DIGEST
    again = load_dataset("mnist", mirror=mirror.url)
    assert again.source == f"user cache {tmp_path / 'cache' / 'mnist'}"
    assert len(mirror.asked) == 4


@pytest.mark.parametrize("bad", list(facts.FILES))
def test_a_wrong_checksum_is_refused_and_nothing_stays(
    bad: str, site: Path, tmp_path: Path, serve: Callable[[Path], Mirror]
) -> None:
    content = bytearray(gzip.decompress((site / f"{bad}.gz").read_bytes()))
    content[-1] ^= 1  # a valid file with one other value
    (site / f"{bad}.gz").write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=f"wrong checksum of {bad}: MD5 .* expected") as told:
        download_mnist(tmp_path / "got", mirror=serve(site).url)
    assert facts.REMEDY in str(told.value)
    assert len(str(told.value).splitlines()) == 2
    assert files_in(tmp_path / "got") == []


@pytest.mark.parametrize("damage", [lambda b: b[:-30], lambda _: b"<html>log in first</html>"])
def test_a_truncated_file_or_a_web_page_is_refused(
    damage: Callable[[bytes], bytes], site: Path, tmp_path: Path, serve: Callable[[Path], Mirror]
) -> None:
    file = site / "train-images-idx3-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=r"no mirror gave MNIST: http://127\.0\.0\.1"):
        download_mnist(tmp_path / "got", mirror=serve(site).url)
    assert files_in(tmp_path / "got") == []


def test_a_dead_and_a_poor_mirror_are_followed_by_a_live_one(
    site: Path, tmp_path: Path, serve: Callable[[Path], Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    dead, poor, live = dead_url(), serve(empty), serve(site)
    monkeypatch.setattr(download, "MIRRORS", (dead, poor.url, live.url))
    said: list[str] = []
    assert download_mnist(tmp_path / "got", say=said.append) == live.url
    assert poor.asked.count("train-images-idx3-ubyte.gz") >= 1
    assert set(poor.asked) == {"train-images-idx3-ubyte.gz"}  # not asked for the other three
    assert any(f"{poor.url} failed: 404" in line for line in said)
    assert not any(
        line.startswith(f"downloading train-labels-idx1-ubyte from {dead}") for line in said
    )


def test_a_mirror_that_fails_half_way_is_replaced_for_the_rest(
    site: Path, tmp_path: Path, serve: Callable[[Path], Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    half = tmp_path / "half"
    half.mkdir()
    for name in list(facts.FILES)[:2]:
        (half / f"{name}.gz").write_bytes((site / f"{name}.gz").read_bytes())
    first, second = serve(half), serve(site)
    monkeypatch.setattr(download, "MIRRORS", (first.url, second.url))
    assert download_mnist(tmp_path / "got") == f"{first.url}, {second.url}"
    assert second.asked == [f"{name}.gz" for name in list(facts.FILES)[2:]]


def test_a_mirror_given_is_asked_alone(
    site: Path, tmp_path: Path, serve: Callable[[Path], Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = serve(site)
    monkeypatch.setattr(download, "MIRRORS", (known.url,))
    with pytest.raises(DataError, match="Connection refused"):
        download_mnist(tmp_path / "got", mirror=dead_url())
    assert known.asked == []


@pytest.mark.parametrize(
    "mirror", ["file:///tmp", "example.org/mnist", "https://", "", "http://[::1/mnist"]
)
def test_a_mirror_that_is_no_web_address_is_refused(mirror: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not an http or https address.*--data-dir"):
        download_mnist(tmp_path, mirror=mirror)


@pytest.mark.parametrize("address", ["http://10.255.255.1/", "http://mnist.invalid/"])
def test_offline_is_told_in_seconds(address: str, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(DataError, match=f"{address}: "):
        download_mnist(tmp_path, mirror=address)
    assert time.monotonic() - started < 10


def test_connections_that_hang_are_given_up_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang = threading.Event()

    def connect(*_: object, **__: object) -> None:
        hang.wait(20)
        raise OSError("too late to matter")

    monkeypatch.setattr(download, "KNOCK_S", 0.3)
    monkeypatch.setattr(download.socket, "create_connection", connect)
    started = time.monotonic()
    with pytest.raises(DataError, match="no answer within") as told:
        download_mnist(tmp_path)
    assert time.monotonic() - started < 5
    assert all(mirror in str(told.value) for mirror in facts.MIRRORS)
    hang.set()


def test_a_mirror_that_accepts_and_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "READ_S", 0.3)
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/"
        with pytest.raises(DataError, match="timed out"):
            download_mnist(tmp_path / "got", mirror=url)
    assert files_in(tmp_path / "got") == []


# --- Mirrors that misbehave -----------------------------------------------------------------------


class Misbehaving:
    """A server on localhost that answers every request with one function, in threads."""

    def __init__(self, answer: Callable[[socket.socket, threading.Event], None]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        self.over = threading.Event()
        self.answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while not self.over.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if connection.recv(4096):  # nothing comes of a mere knock
                self.answer(connection, self.over)

    def close(self) -> None:
        self.over.set()
        self.listener.close()


@pytest.fixture
def misbehave() -> Iterator[Callable[..., Misbehaving]]:
    servers: list[Misbehaving] = []

    def start(answer: Callable[[socket.socket, threading.Event], None]) -> Misbehaving:
        servers.append(Misbehaving(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


def dripping(connection: socket.socket, over: threading.Event) -> None:
    """A byte each 20 ms: no time-out between two packets ever ends this."""
    connection.sendall(HEAD + b"\r\n\x1f\x8b")
    while not over.wait(0.02):
        connection.sendall(b"x")


def dripping_its_head(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(HEAD + b"X-Long: ")
    while not over.wait(0.02):
        connection.sendall(b"x")


def endless(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(HEAD + b"\r\n")
    while not over.is_set():
        connection.sendall(bytes(1 << 20))


def announcing(connection: socket.socket, _over: threading.Event) -> None:
    connection.sendall(HEAD + b"Content-Length: many\r\n\r\nxx")


def redirecting(connection: socket.socket, _over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n")


def no_http(connection: socket.socket, _over: threading.Event) -> None:
    connection.sendall(b"220 mail.example ESMTP\r\n\r\n")


def cutting_off(connection: socket.socket, _over: threading.Event) -> None:
    connection.sendall(HEAD + b"Content-Length: 999\r\n\r\nxx")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (dripping, "too slow: "),
        (dripping_its_head, "too slow: 0 bytes"),
        (endless, "sends more than 2 MiB, which is the limit for one file"),
        (announcing, ""),
        (redirecting, ""),
        (no_http, ""),
        (cutting_off, ""),
    ],
)
def test_a_mirror_that_misbehaves_is_given_up(
    tmp_path: Path,
    misbehave: Callable[..., Misbehaving],
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[..., None],
    words: str,
) -> None:
    monkeypatch.setattr(download, "BEGIN_S", 0.5)
    monkeypatch.setattr(download, "LARGEST", 2 << 20)
    server = misbehave(answer)
    started = time.monotonic()
    with pytest.raises(DataError, match="no mirror gave MNIST") as told:
        download_mnist(tmp_path / "got", mirror=server.url)
    assert time.monotonic() - started < 5
    assert words in str(told.value)
    assert len(str(told.value)) < 500
    assert files_in(tmp_path / "got") == []


def test_a_slow_mirror_is_followed_by_another(
    site: Path,
    tmp_path: Path,
    serve: Callable[[Path], Mirror],
    misbehave: Callable[..., Misbehaving],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow, live = misbehave(dripping), serve(site)
    monkeypatch.setattr(download, "BEGIN_S", 0.3)
    monkeypatch.setattr(download, "MIRRORS", (slow.url, live.url))
    assert download_mnist(tmp_path / "got") == live.url


def test_a_file_that_unpacks_to_more_than_it_may(
    site: Path, tmp_path: Path, serve: Callable[[Path], Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 MB of zeros in 64 KB; the rest is never unpacked."""
    bomb = gzip.compress(bytes(1 << 26))
    (site / "train-images-idx3-ubyte.gz").write_bytes(bomb)
    monkeypatch.setattr(download, "LARGEST", 1 << 20)
    words = "train-images-idx3-ubyte unpacks to more than 1 MiB, which is the limit"
    with pytest.raises(DataError, match=words):
        download_mnist(tmp_path / "got", mirror=serve(site).url)
    assert files_in(tmp_path / "got") == []


def test_the_limits_leave_room_for_mnist() -> None:
    """Its largest file has 47,040,016 bytes; packed it has 10 MB, here at 25 kB a second."""
    assert download.LARGEST > 47_040_016
    assert download.BEGIN_S + 10e6 / download.SLOWEST > 10e6 / 25e3


def test_an_interrupted_download_leaves_nothing(
    site: Path, tmp_path: Path, serve: Callable[[Path], Mirror]
) -> None:
    def stop(line: str) -> None:
        if "t10k-labels" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_mnist(tmp_path / "got", mirror=serve(site).url, say=stop)
    assert files_in(tmp_path / "got") == []


def test_a_folder_that_cannot_be_written_is_told(
    site: Path, tmp_path: Path, serve: Callable[[Path], Mirror]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match=r"cannot be written: Not a directory.*MNIST_MLP_CACHE"):
        download_mnist(tmp_path / "file" / "mnist", mirror=serve(site).url)
