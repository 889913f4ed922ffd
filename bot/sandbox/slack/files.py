"""Files that the app uploads: an address to send the bytes to, then a message that shows them."""

from __future__ import annotations

import mimetypes
import secrets
from dataclasses import dataclass
from typing import Any

from bot.sandbox.slack.refusal import SlackError

MAX_BYTES = 50_000_000


@dataclass
class _File:
    id: str
    name: str
    length: int
    title: str = ""
    data: bytes | None = None
    shared: bool = False


class Files:
    """Those of one workspace, until it restarts."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._files: dict[str, _File] = {}
        self._tickets: dict[str, str] = {}

    def upload_url(self, *, name: str, length: int) -> tuple[str, str]:
        """Return where to send the bytes, and the file's id."""
        if not name:
            raise SlackError("invalid_arguments", messages=("[ERROR] missing required field: filename",))
        if not 0 < length <= MAX_BYTES:
            raise SlackError("file_upload_size_restricted" if length > MAX_BYTES else "missing_argument")
        file = _File("F0" + secrets.token_hex(4).upper(), name, length)
        ticket = secrets.token_urlsafe(24)
        self._files[file.id], self._tickets[ticket] = file, file.id
        return f"{self._url}/upload/v1/{ticket}", file.id

    def receive(self, ticket: str, data: bytes) -> int:
        """Take the bytes; return their number. Raises SlackError."""
        file = self._files.get(self._tickets.get(ticket, ""))
        if file is None or file.data is not None:
            raise SlackError("invalid_upload_url")
        if len(data) != file.length:
            raise SlackError("file_size_mismatch")
        file.data = data
        return len(data)

    def complete(self, entries: Any) -> list[dict[str, Any]]:
        """Finish uploads; return them as Slack shows files to apps. Raises SlackError."""
        if not isinstance(entries, list) or not entries:
            raise SlackError("invalid_arguments")
        files = []
        for entry in entries:
            file = self._files.get(str(entry.get("id"))) if isinstance(entry, dict) else None
            if file is None or file.data is None or file.shared:
                raise SlackError("file_not_found")
            file.title = str(entry.get("title") or file.name)
            files.append(file)
        for file in files:
            file.shared = True
        return [self._shape(file) for file in files]

    def read(self, file_id: str) -> tuple[bytes, str] | None:
        """Return a file's bytes and type of content, or None."""
        file = self._files.get(file_id)
        return (file.data, _kind(file.name)) if file is not None and file.data is not None else None

    def _shape(self, file: _File) -> dict[str, Any]:
        address = f"{self._url}/files/{file.id}"
        return {
            "id": file.id,
            "name": file.name,
            "title": file.title,
            "mimetype": _kind(file.name),
            "size": file.length,
            "url_private": address,
            "permalink": address,
        }


def _kind(name: str) -> str:
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
