"""HTTP as any client speaks it: chat completions, and the server's view of itself."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import requests

NEW_TOKENS = 8
SECONDS = 120
RECORD_SECONDS = 5


class Reply(NamedTuple):
    """One answer; tokens."""

    rid: str
    text: str
    prompt: int
    cached: int
    milliseconds: float


class Client:
    """Talks to one server on this machine."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._session = requests.Session()
        # A proxy of the environment has no way to this machine's loopback.
        self._session.trust_env = False

    def healthy(self) -> bool:
        """Whether it takes requests."""
        try:
            return self._session.get(f"{self.url}/health", timeout=5).ok
        except requests.RequestException:
            return False

    def chat(self, messages: list[dict[str, str]], rid: str) -> Reply:
        """One greedy answer of `NEW_TOKENS` tokens."""
        body: dict[str, Any] = {
            "model": "demo",
            "messages": messages,
            "rid": rid,
            "temperature": 0,
            "seed": 1,
            "max_tokens": NEW_TOKENS,
            "ignore_eos": True,
        }
        start = time.perf_counter()
        reply = self._session.post(f"{self.url}/v1/chat/completions", json=body, timeout=SECONDS)
        took = 1000 * (time.perf_counter() - start)
        reply.raise_for_status()
        out = reply.json()
        usage = out["usage"]
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        text = out["choices"][0]["message"]["content"] or ""
        return Reply(rid, text, usage["prompt_tokens"], cached, took)

    def cache(self) -> dict[str, Any]:
        """The `cachepawl` section of `/server_info`."""
        reply = self._session.get(f"{self.url}/server_info", timeout=SECONDS)
        reply.raise_for_status()
        section: dict[str, Any] = reply.json()["internal_states"][0]["cachepawl"]
        return section

    def cache_after(self, rid: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """That section once it knows how request `rid` ended, and what it says of it."""
        deadline = time.monotonic() + RECORD_SECONDS
        while True:
            section = self.cache()
            for record in section["requests"]:
                if record["rid"] == rid:
                    return section, record
            if time.monotonic() > deadline:
                return section, None
            time.sleep(0.05)
