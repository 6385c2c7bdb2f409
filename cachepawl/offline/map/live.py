"""A picture of a running server, over HTTP."""

from __future__ import annotations

import http.client
import json
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from cachepawl.errors import InputError
from cachepawl.offline.map.picture import MOST_FILE, Picture, parse_picture
from cachepawl.offline.strict_json import parse_object

PATH = "/cachepawl/map"
MEANINGS = {
    401: "the server wants its admin key, or else its API key: --api-key",
    403: "the server does not allow it with this key: --api-key",
    404: "it serves no maps: start it with python -m cachepawl.launch_server --cachepawl-map",
}
"""HTTP answers that people get, and what to do."""


class _NoRedirect(HTTPRedirectHandler):
    """The key is for the server that was named, and for no other."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def fetch_picture(
    url: str, api_key: str | None, *, nodes: int, cells: int, timeout: float
) -> Picture:
    """The server's cache now; InputError of one line when it cannot be had.

    `url` is that of the server, `timeout` seconds for each step of the exchange.
    """
    base = _checked_url(url)
    headers = {"Accept": "application/json"}
    if api_key:
        headers["Authorization"] = f"Bearer {_checked_key(api_key)}"
    full = f"{base}{PATH}?{urlencode({'nodes': nodes, 'cells': cells})}"
    body = _get(base, Request(full, headers=headers), timeout)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{base}: the answer is not text; is this SGLang's port?") from None
    return parse_picture(parse_object(text, base), base)


def _get(base: str, request: Request, timeout: float) -> bytes:
    try:
        with build_opener(_NoRedirect).open(request, timeout=timeout) as reply:
            body: bytes = reply.read(MOST_FILE + 1)
    except HTTPError as error:
        _explain(base, error)
    except TimeoutError:
        raise InputError(f"{base}: no answer within {timeout:g} s: --timeout") from None
    except URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise InputError(f"{base}: no answer within {timeout:g} s: --timeout") from None
        raise InputError(f"{base}: {_reason(error.reason)}; does the server run?") from None
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise InputError(f"{base}: {_reason(error)}; is this SGLang's port?") from None
    if len(body) > MOST_FILE:
        raise InputError(f"{base}: more than {MOST_FILE} bytes; is this SGLang's port?")
    return body


def _reason(error: object) -> str:
    strerror = getattr(error, "strerror", None)
    return " ".join(str(strerror or error or type(error).__name__).split())[:200]


def _explain(base: str, error: HTTPError) -> NoReturn:
    with error:
        meaning = MEANINGS.get(error.code) or _said(error.read(2000)) or str(error.reason)
    raise InputError(f"{base}: HTTP {error.code}: {meaning}")


def _said(body: bytes) -> str:
    """What SGLang or our route says is wrong, if it does in a way that is known."""
    try:
        said = json.loads(body)
    except ValueError:
        return ""
    if isinstance(said, dict):
        for name in ("error", "message", "detail"):
            if isinstance(said.get(name), str):
                return " ".join(said[name].split())[:300]
    return ""


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError as error:
        raise InputError(f"--url {url[:200]!r}: {error}") from None
    if not known or parts.query or parts.fragment or parts.username is not None:
        raise InputError(
            f"--url {url[:200]!r}: give the server's address, as in http://127.0.0.1:30000"
        )
    return url.rstrip("/")


def _checked_key(key: str) -> str:
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError("--api-key: a key is printable ASCII without spaces")
    return key
