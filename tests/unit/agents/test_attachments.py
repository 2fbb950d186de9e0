"""Files that a prompt brings along."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest

from orchestrator.agents.attachments import (
    IMAGE_TOKENS,
    LARGEST,
    Unfit,
    block_of,
    files_of,
    media_type_of,
    weight_of,
    with_bytes,
)
from orchestrator.agents.conversation import Conversation


def file(media_type: str = "image/png", *, size: int = 10, name: str = "x") -> dict[str, Any]:
    return {"$file": f"h-{name}", "name": name, "size": size, "media_type": media_type}


def test_a_conversation_refers_to_files_and_the_wire_has_their_bytes():
    talked = Conversation()
    talked.add_user("look", [file(), file("application/pdf", name="p"), file("text/plain", name="t")])
    talked.add_reply({"content": [{"type": "text", "text": "well"}], "stop": "end_turn"})
    assert set(files_of(talked.messages)) == {"h-x", "h-p", "h-t"}
    sent = with_bytes(talked.messages, lambda name: f"{name}\0é".encode())
    image, pdf, text, said = sent[0]["content"]
    assert (image["type"], image["source"]["media_type"]) == ("image", "image/png")
    assert b64decode(image["source"]["data"]) == "h-x\0é".encode()
    assert (pdf["type"], pdf["source"]["type"]) == ("document", "base64")
    assert text == {"type": "text", "text": "t:\nh-t\ufffdé"}
    assert said == {"type": "text", "text": "look"}
    assert sent[1] is talked.messages[1]
    assert "data" not in str(talked.messages)


@pytest.mark.parametrize(
    ("given", "problem"),
    [(file("application/zip"), "application/zip"), (file("text/csv", size=LARGEST + 1), "at most")],
)
def test_what_no_model_reads_is_refused(given: dict[str, Any], problem: str):
    with pytest.raises(Unfit, match=problem):
        block_of(given)


def test_a_file_counts_for_at_most_what_a_model_may_make_of_it():
    assert weight_of(file(size=9_000_000)) == IMAGE_TOKENS
    assert weight_of(file(size=10)) < 2_000
    assert weight_of(file("application/pdf", size=20_000_000)) == 600_000
    assert weight_of(file("text/plain", size=3_000)) == 5_000
    talked = Conversation()
    talked.add_user("look", [file(size=9_000_000)])
    assert talked.size > IMAGE_TOKENS
    talked.compact(1, note="", shrink=None)
    assert talked.size > IMAGE_TOKENS


@pytest.mark.parametrize(
    ("name", "body", "media_type"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\nrest", "image/png"),
        ("a.png", b"no picture", "application/octet-stream"),
        ("a.png", b"", "application/octet-stream"),
        ("a.jpg", b"\xff\xd8\xff\xe0", "image/jpeg"),
        ("a.jpg", b"\x89PNG\r\n\x1a\n", "application/octet-stream"),
        ("a.gif", b"GIF89a", "image/gif"),
        ("a.webp", b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        ("a.webp", b"RIFF\0\0\0\0WAVEfmt ", "application/octet-stream"),
        ("a.pdf", b"\n%PDF-1.7", "application/pdf"),
        ("a.pdf", b"<html>", "application/octet-stream"),
        ("a.txt", b"%PDF-1.7", "text/plain"),
        ("a", b"x", "application/octet-stream"),
    ],
)
def test_a_name_makes_no_image_of_a_file(name: str, body: bytes, media_type: str) -> None:
    assert media_type_of(name, body) == media_type
