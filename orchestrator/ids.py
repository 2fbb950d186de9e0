"""Identifiers and the only randomness of the package."""

from __future__ import annotations

import hashlib
import os
import time
import uuid


def new_run_id() -> str:
    """A time-ordered UUID (version 7, RFC 9562), so that ids sort by creation."""
    ms = time.time_ns() // 1_000_000
    value = (ms & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def new_nonce() -> str:
    """A fresh nonce: 16 random hex digits."""
    return os.urandom(8).hex()


def new_owner() -> str:
    """A fresh name of a driver: one per process start."""
    return os.urandom(12).hex()


def idempotency_key(run_id: str, path: str, logical_attempt: int) -> str:
    """The key under which one logical attempt of a step may be sent any number of times."""
    return digest_text(f"key\0{run_id}\0{path}\0{logical_attempt}")[:32]


def request_id(kind: str, path: str, *more: int) -> str:
    """The id of what is sent to a step: readable, and no longer than a store takes."""
    text = ":".join([kind, path, *map(str, more)])
    return text if len(text) <= 300 else f"{text[:200]}:{digest_text(text)}"


def child_run_id(parent: str, path: str, attempt: int) -> str:
    """The id of the child run that a step starts: the same after any crash."""
    return derived_uuid(f"child\0{parent}\0{path}\0{attempt}")


def derived_uuid(seed: str) -> str:
    """A UUID (version 8) derived from ``seed`` alone."""
    value = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:16], "big")
    value = value & ~(0xF << 76) | 0x8 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def digest_text(text: str) -> str:
    """SHA-256 of the UTF-8 text, as 64 hex digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
