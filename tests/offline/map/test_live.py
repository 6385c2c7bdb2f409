"""Fetching a map: what servers answer, and what else may be behind a port."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from small_caches import SmallCache

from cachepawl.errors import InputError
from cachepawl.observe.snapshot import snapshot
from cachepawl.offline.map.live import fetch_picture
from cachepawl.offline.map.picture import MOST_FILE, Picture

PICTURE = snapshot(SmallCache(4, 12, 3).cache)


class Answering:
    """A server that answers always the same, and remembers what it was asked."""

    def __init__(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        asked = self.asked = list[tuple[str, str | None]]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.path, self.headers["Authorization"]))
                self.send_response(code)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@contextmanager
def answering(code: int, body: bytes, **headers: str) -> Iterator[Answering]:
    server = Answering(code, body, headers)
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        thread.join()
        server.http.server_close()


@contextmanager
def speaking(said: bytes | None) -> Iterator[str]:
    """A port where somebody says something that is not HTTP, or nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as port:

        def serve() -> None:
            caller, _ = port.accept()
            with caller:
                caller.recv(4096)
                if said is None:
                    caller.recv(4096)  # until the other side gives up
                else:
                    caller.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{port.getsockname()[1]}"
        thread.join()


def fetch(url: str, key: str | None = None, timeout: float = 20) -> Picture:
    return fetch_picture(url, key, nodes=7, cells=9, timeout=timeout)


def refusal(url: str, key: str | None = None, timeout: float = 20) -> str:
    with pytest.raises(InputError) as refused:
        fetch(url, key, timeout)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_map_is_fetched(slash: str) -> None:
    with answering(200, json.dumps(PICTURE).encode()) as server:
        assert fetch(server.url + slash, "secret").model_dump() == PICTURE
        assert fetch(server.url).requests == 0
    path = "/cachepawl/map?nodes=7&cells=9"
    assert server.asked == [(path, "Bearer secret"), (path, None)]


@pytest.mark.parametrize(
    ("code", "body", "says"),
    [
        (401, b"", "HTTP 401: the server wants its admin key, or else its API key: --api-key"),
        (403, b"", "HTTP 403: the server does not allow it"),
        (404, b"{}", "HTTP 404: it serves no maps: start it with python -m cachepawl.launch"),
        (429, b'{"error": "ask again in 3.0 s"}', "HTTP 429: ask again in 3.0 s"),
        (400, b'{"message": "too\\nmany"}', "HTTP 400: too many"),
        (500, b"<html>", "HTTP 500: Internal Server Error"),
        (500, b"\xff", "HTTP 500: Internal Server Error"),
        (200, b"\xff\xfe", "not text"),
        (200, b"<html>", "not JSON"),
        (200, b'{"status": "fine"}', "not 'cachepawl-map'"),
        (200, b'{"format": "cachepawl-map", "version": 9}', "version 9"),
    ],
)
def test_other_answers_are_one_line(code: int, body: bytes, says: str) -> None:
    with answering(code, body) as server:
        text = refusal(server.url)
    assert text.startswith(f"{server.url}: ")
    assert says in text


def test_an_endless_answer_is_cut_off() -> None:
    with answering(200, b" " * (MOST_FILE + 2)) as server:
        assert f"more than {MOST_FILE} bytes" in refusal(server.url)


def test_a_key_goes_to_nobody_else() -> None:
    with answering(200, json.dumps(PICTURE).encode()) as other:
        with answering(302, b"", Location=f"{other.url}/cachepawl/map") as server:
            assert "HTTP 302" in refusal(server.url, "secret")
        assert other.asked == []


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:30000", "ftp://host", "file:///etc/passwd", "http://", "http://host:99999",
     "http://host:port", "http://host?x=1", "http://key@host", "http://[::1"],
)  # fmt: skip
def test_addresses_that_are_none(url: str) -> None:
    assert refusal(url).startswith("--url ")


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_keys_that_no_header_holds(key: str) -> None:
    text = refusal("http://127.0.0.1:9", key)
    assert text.startswith("--api-key: ")
    assert key not in text


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as port:
        url = f"http://127.0.0.1:{port.getsockname()[1]}"
    assert "Connection refused; does the server run?" in refusal(url)
    assert "does the server run?" in refusal("http://no-such-host.invalid")


def test_somebody_else_there() -> None:
    with speaking(b"220 mail.example ESMTP\r\n") as url:
        assert "is this SGLang's port?" in refusal(url)
    with speaking(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{") as url:
        assert "not JSON" in refusal(url)


def test_nobody_answers() -> None:
    with speaking(None) as url:
        assert "no answer within 0.2 s: --timeout" in refusal(url, timeout=0.2)
