"""The hooks of ``hooks.yaml``."""

from __future__ import annotations

import re
from typing import Any


async def mask(event: dict[str, Any], context: Any) -> dict[str, Any] | None:
    """Leave the last four digits of a card number in what a model is sent."""
    messages = event["request"]["messages"]
    changed = [_masked(message) for message in messages]
    if changed == messages:
        return None
    return {**event, "request": {**event["request"], "messages": changed}}


def _masked(message: dict[str, Any]) -> dict[str, Any]:
    content = [
        {**block, "text": re.sub(r"(?:\d{4} ){3}(\d{4})", r"**** \1", block["text"])} if "text" in block else block
        for block in message["content"]
    ]
    return {**message, "content": content}


async def stop(event: dict[str, Any], context: Any) -> dict[str, Any] | None:
    """Answer a call that shall not be made."""
    if "secret" in str(event["args"].get("path", "")):
        return {**event, "result": "that file is not yours to write"}
    return None


async def shorten(event: dict[str, Any], context: Any) -> dict[str, Any] | None:
    """Give the model the first words of a result."""
    if isinstance(event["result"], str):
        return {**event, "result": " ".join(event["result"].split()[:4])}
    return None
