"""Webhooks: what happened is posted to whoever asked for it, signed, in the order in which it happened."""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import threading
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from bot.sandbox.forge.store import Hook

TIMEOUT_SECONDS = 10.0


class Deliveries:
    """Posts one payload after the other, once each: what nobody takes is not sent again, as on GitHub."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Hook, str, Mapping[str, Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def tell(self, hooks: Iterable[Hook], event: str, payload: Mapping[str, Any]) -> None:
        """Post it soon to every one of these that asked for it; whoever caused it does not wait."""
        for hook in hooks:
            if hook.active and (event == "ping" or {event, "*"} & set(hook.events)):
                self._send(hook, event, payload)

    def _send(self, hook: Hook, event: str, payload: Mapping[str, Any]) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
        self._waiting.put((hook, event, payload))

    def stop(self) -> None:
        """Send what waits, and end."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join(TIMEOUT_SECONDS)

    def _run(self) -> None:
        with httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
            while (waiting := self._waiting.get()) is not None:
                hook, event, payload = waiting
                body = json.dumps(payload).encode()
                try:
                    client.post(hook.url, content=body, headers=_headers(hook, event, body))
                except httpx.HTTPError:
                    continue  # a receiver that is away has missed it


def _headers(hook: Hook, event: str, body: bytes) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/sandbox",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-GitHub-Hook-ID": str(hook.id),
        "X-GitHub-Hook-Installation-Target-Type": "repository",
    }
    if hook.secret:
        digest = hmac.new(hook.secret.encode(), body, hashlib.sha256).hexdigest()
        headers["X-Hub-Signature-256"] = f"sha256={digest}"
    return headers
