import hashlib
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from usjepa.cli import main
from usjepa.errors import InputError
from usjepa.weights.fetch import fetch
from usjepa.weights.licence import licence_of_address

CONTENT = random.Random(0).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


class Server(ThreadingHTTPServer):
    """One file on loopback. `breaks` says after how many bytes each answer in turn breaks off; then none does."""

    daemon_threads = True
    obeys_range = True
    is_chunked = False
    kind = "application/octet-stream"
    shift = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.breaks: list[int] = []
        self.asked: list[str | None] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that hung up."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/models/vitl16.pth.tar"


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if "vitl16" not in self.path:
            self.send_error(404)
            return
        asked = self.headers["Range"]
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.obeys_range else 0
        self.close_connection = True
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        if start:
            first = start + self.server.shift
            self.send_header("Content-Range", f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Type", self.server.kind)
        if self.server.is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        breaks = self.server.breaks.pop(0) if self.server.breaks else None
        sent = body if breaks is None else body[:breaks]
        if self.server.is_chunked:
            self.wfile.write(f"{len(sent):x}\r\n".encode() + sent + b"\r\n" + (b"0\r\n\r\n" if breaks is None else b""))
        else:
            self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "weights" / "vitl16.pth.tar"


def part_of(out: Path) -> Path:
    return out.with_name("vitl16.pth.tar.part")


def test_a_file_with_the_right_hash_is_put_in_its_place(server: Server, out: Path) -> None:
    assert fetch(server.address, out, sha256=SHA256.upper()) == out
    assert out.read_bytes() == CONTENT
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert server.asked == [None]


def test_by_default_a_file_keeps_its_own_name(server: Server, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert fetch(f"{server.address}?download=true", sha256=SHA256) == Path("vitl16.pth.tar")
    assert Path("vitl16.pth.tar").read_bytes() == CONTENT


def test_a_connection_that_breaks_half_way_is_taken_up_again(server: Server, out: Path) -> None:
    server.breaks = [1_500_000, 700_000]
    fetch(server.address, out, sha256=SHA256)
    assert out.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1500000-", "bytes=2200000-"]


def test_a_broken_download_goes_on_in_the_next_call(server: Server, out: Path) -> None:
    server.breaks = [1_000_000, 0]
    with pytest.raises(InputError, match=r"got 1000000 bytes before the connection broke.*same command again"):
        fetch(server.address, out, sha256=SHA256)
    assert part_of(out).read_bytes() == CONTENT[:1_000_000]
    assert not out.exists()
    fetch(server.address, out, sha256=SHA256)
    assert out.read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=1000000-"
    assert not part_of(out).exists()


def test_a_server_that_ignores_ranges_starts_over(server: Server, out: Path) -> None:
    server.obeys_range = False
    out.parent.mkdir()
    part_of(out).write_bytes(b"x" * 2_000_000)
    fetch(server.address, out, sha256=SHA256)
    assert out.read_bytes() == CONTENT
    assert server.asked == ["bytes=2000000-"]


def test_a_server_that_ignores_ranges_and_always_breaks_off_is_given_up(server: Server, out: Path) -> None:
    server.obeys_range, server.breaks = False, [1_000_000] * 10
    with pytest.raises(InputError, match="got 1000000 bytes before the connection broke"):
        fetch(server.address, out, sha256=SHA256)
    assert len(server.asked) == 2


def test_a_broken_answer_of_unknown_length_is_noticed(server: Server, out: Path) -> None:
    server.is_chunked, server.breaks = True, [1_000_000]
    fetch(server.address, out, sha256=SHA256)
    assert out.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000000-"]


def test_a_wrong_hash_puts_nothing_in_place_and_the_right_one_needs_no_second_download(
    server: Server, out: Path
) -> None:
    with pytest.raises(InputError, match=f"expected SHA-256 {OTHER}, got {SHA256}"):
        fetch(server.address, out, sha256=OTHER)
    assert not out.exists()
    assert fetch(server.address, out, sha256=SHA256).read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_without_a_hash_the_computed_one_is_printed_and_asked_for(server: Server, out: Path, capsys) -> None:
    command = ["weights", "fetch", server.address, "--out", str(out)]
    assert main(command) == 2
    said = capsys.readouterr()
    assert "licence: not known" in said.out
    assert f"with --sha256 {SHA256}" in said.err
    assert part_of(out).read_bytes() == CONTENT
    assert not out.exists()
    assert main([*command, "--sha256", SHA256]) == 0
    assert capsys.readouterr().out.endswith(f"{out}\n")
    assert out.read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_a_whole_part_is_recognised_by_the_servers_answer(server: Server, out: Path) -> None:
    for _ in range(2):
        with pytest.raises(InputError, match=f"has {SHA256}"):
            fetch(server.address, out)
    assert server.asked == [None, "bytes=3000000-"]


def test_a_part_longer_than_the_file_is_refused(server: Server, out: Path) -> None:
    out.parent.mkdir()
    part_of(out).write_bytes(CONTENT + b"x")
    with pytest.raises(InputError, match=r"more than the whole file.*Delete"):
        fetch(server.address, out)


def test_other_bytes_than_asked_for_are_refused(server: Server, out: Path) -> None:
    server.breaks, server.shift = [1_000_000], 5
    with pytest.raises(InputError, match="expected the bytes from 1000000 on, got others"):
        fetch(server.address, out, sha256=SHA256)


def test_a_file_that_is_there_is_not_fetched_again_and_another_is_not_replaced(server: Server, out: Path) -> None:
    out.parent.mkdir()
    out.write_bytes(CONTENT)
    assert fetch(server.address, out, sha256=SHA256) == out
    for wanted in (OTHER, None):
        with pytest.raises(InputError, match="expected no file or the wanted one, found another"):
            fetch(server.address, out, sha256=wanted)
    assert out.read_bytes() == CONTENT
    with pytest.raises(InputError, match="expected no file or the wanted one"):
        fetch(server.address, out.parent, sha256=SHA256)
    assert server.asked == []


def test_what_no_server_gives_is_one_clear_error(server: Server, out: Path) -> None:
    cases = {
        server.address.replace("vitl16", "vitx"): "expected a file, got 404 Not Found",
        "http://127.0.0.1:9/vitl16.pth.tar": "expected a server, got none",
        f"file://{Path(__file__)}": "expected an http or https address",
        "vitl16.pth.tar": "expected an http or https address",
    }
    for address, message in cases.items():
        with pytest.raises(InputError, match=message):
            fetch(address, out, sha256=SHA256)
    with pytest.raises(InputError, match="got no name. Give --out FILE"):
        fetch("http://127.0.0.1/", sha256=SHA256)
    with pytest.raises(InputError, match="--sha256: expected 64 hex digits, got 'abc'"):
        fetch(server.address, out, sha256="abc")
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(InputError, match="expected a file, got a web page"):
        fetch(server.address, out, sha256=SHA256)
    assert not out.exists()


def test_a_full_disk_is_not_taken_for_a_broken_connection(server: Server, out: Path, tmp_path: Path) -> None:
    out.parent.mkdir()
    part_of(out).symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"part: expected to write it, got No space left on device"):
        fetch(server.address, out)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected to write it"):
        fetch(server.address, tmp_path / "file" / "vitl16.pth.tar", sha256=SHA256)
    assert len(server.asked) == 1


def test_the_licence_is_said_only_of_addresses_of_the_authors() -> None:
    theirs = "CC BY-NC 4.0"
    assert licence_of_address("https://dl.fbaipublicfiles.com/jepa/vitl16/vitl16.pth.tar") == theirs
    assert licence_of_address("https://huggingface.co/MCG-NJU/videomae-large/resolve/main/model.safetensors") == theirs
    for address in (
        "https://dl.fbaipublicfiles.com/ijepa/IN1K-vit.h.14-300e.pth.tar",
        "https://dl.fbaipublicfiles.com.example.org/jepa/vitl16/vitl16.pth.tar",
        "https://huggingface.co/somebody/MCG-NJU/videomae-large",
        "https://example.org/?from=https://dl.fbaipublicfiles.com/jepa/vitl16.pth.tar",
    ):
        assert licence_of_address(address) is None
