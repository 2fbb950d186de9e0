"""Files that a prompt brings along: as references in a conversation, with their bytes on the wire.

A conversation holds ``{"type": "image" | "document", "source": {"type": "file", "file": FILE}}``, FILE being a stored
file (``{"$file": HASH, "name", "size", "media_type"}``), so that hashes and journals stay small.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchestrator.agents.messages import Message

IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
PDF = "application/pdf"
_TEXTS = frozenset(
    {
        "application/json", "application/yaml", "application/x-yaml", "application/xml", "application/toml",
        "application/javascript", "application/x-sh", "application/x-ndjson", "application/sql",
    }
)  # fmt: skip
_SIGNS = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
    PDF: (),
}
"""What bodies of a type begin with."""
_PDF_BEGINS = 1024
LARGEST = 20 * 1024 * 1024
"""Bytes of one attachment."""

IMAGE_TOKENS = 8_000
PDF_TOKENS = 600_000
"""More than a picture, or a PDF of as many pages as a model reads, comes to; its bytes would be a bound too, and a
useless one."""


class Unfit(Exception):
    """A file that no model is sent. ``problem`` says why."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


def media_type_of(name: str, body: bytes) -> str:
    """The type of a file by its name; one that would be sent as an image or PDF, and is none, is of no known type."""
    import mimetypes

    unknown = "application/octet-stream"
    guessed = mimetypes.guess_type(name, strict=False)[0] or unknown
    return guessed if guessed not in _SIGNS or _is(guessed, body) else unknown


def _is(media_type: str, body: bytes) -> bool:
    if media_type == PDF:  # readers take one that has something before it
        return b"%PDF-" in body[:_PDF_BEGINS]
    return body.startswith(_SIGNS[media_type]) and (media_type != "image/webp" or body[8:12] == b"WEBP")


def block_of(file: dict[str, Any]) -> dict[str, Any]:
    """The block that stands for a file. Raises Unfit."""
    name, media_type = file.get("name"), str(file.get("media_type"))
    if file["size"] > LARGEST:
        raise Unfit(f"the attachment {name!r} has {file['size']} bytes; at most {LARGEST} are sent")
    if media_type not in IMAGES and media_type != PDF and not _is_text(media_type):
        raise Unfit(f"the attachment {name!r} is of type {media_type}; images, PDF and text are sent")
    kind = "image" if media_type in IMAGES else "document"
    return {"type": kind, "source": {"type": "file", "file": file}}


def weight_of(file: dict[str, Any]) -> int:
    """A bound of the tokens that a file comes to."""
    media_type = str(file.get("media_type"))
    size = int(file["size"]) * 4 // 3 + 1_000
    if media_type in IMAGES:
        return min(size, IMAGE_TOKENS)
    return min(size, PDF_TOKENS) if media_type == PDF else size


def files_of(messages: Iterable[Message]) -> dict[str, dict[str, Any]]:
    """The files that messages refer to, by hash."""
    return {file["$file"]: file for message in messages for block in message["content"] if (file := _file(block))}


def with_bytes(messages: Iterable[Message], read: Callable[[str], bytes]) -> list[Message]:
    """The messages with the bytes of their files: text as text, images and PDF in base64."""
    return [
        {**message, "content": [_sent(block, file, read) if (file := _file(block)) else block for block in content]}
        if any(map(_file, content := message["content"]))
        else message
        for message in messages
    ]


def _sent(block: dict[str, Any], file: dict[str, Any], read: Callable[[str], bytes]) -> dict[str, Any]:
    body = read(file["$file"])
    media_type = str(file["media_type"])
    if _is_text(media_type):
        text = body.decode("utf-8", "replace").replace("\0", "\ufffd")
        return {"type": "text", "text": f"{file.get('name')}:\n{text}"}
    source = {"type": "base64", "media_type": media_type, "data": b64encode(body).decode()}
    return {"type": block["type"], "source": source}


def _file(block: dict[str, Any]) -> dict[str, Any] | None:
    source = block.get("source")
    return source["file"] if isinstance(source, dict) and "file" in source else None


def _is_text(media_type: str) -> bool:
    return media_type.startswith("text/") or media_type in _TEXTS
