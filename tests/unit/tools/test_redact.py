from __future__ import annotations

import base64
import gzip
import html
import json
import os
import random
import re
import shlex
import urllib.parse

import pytest

from orchestrator.tools.protocol import secret_marker
from orchestrator.tools.redact import Redactor, UnknownSecret, reveal

SECRETS = {
    "PLAIN": "s3cr3tCanary",
    "SIGNS": 'p@ss w/rd+"quoted"\'s & <tag>\\n%41',
    "WIDE": "pässwörd-☃-🔑",
    "LINES": "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n9w0BAQEFAASCBKcwggSj\n-----END KEY-----\n",
    "LONG": "L" + "0123456789abcdefghij" * 6,
}
REDACT = Redactor(SECRETS)


def encodings(value: str) -> dict[str, str]:
    raw = value.encode()
    return {
        "plain": value,
        "json": json.dumps(value),
        "json unicode": json.dumps(value, ensure_ascii=False),
        "json in json": json.dumps(json.dumps({"k": value})),
        "json thrice": json.dumps(json.dumps(json.dumps([value]))),
        "slashes": json.dumps(value).replace("/", "\\/"),
        "url": urllib.parse.quote(value, safe=""),
        "url path": urllib.parse.quote(value),
        "form": urllib.parse.urlencode({"q": value}),
        "url twice": urllib.parse.quote(urllib.parse.quote(value, safe=""), safe=""),
        "url lower": re.sub("%..", lambda found: found[0].lower(), urllib.parse.quote(value, safe="")),
        "html": html.escape(value),
        "repr": repr(value),
        "bytes repr": repr(raw),
        "hex": raw.hex(),
        "HEX": raw.hex().upper(),
        "shell": shlex.quote(value),
        "base64": base64.b64encode(raw).decode(),
        "base64 +1": base64.b64encode(b"x" + raw + b"yz").decode(),
        "base64 +2": base64.b64encode(b"xy" + raw + b"z").decode(),
        "base64 url": base64.urlsafe_b64encode(b"user:" + raw).decode(),
        "base64 wrapped": base64.encodebytes(b"user:" + raw + b"!" * 90).decode(),
        "base64 wrapped in json": json.dumps(base64.encodebytes(b"xx" + raw + b"!" * 90).decode()),
    }


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("form", encodings("x"))
def test_every_form_is_replaced_by_the_name(name: str, form: str) -> None:
    text = encodings(SECRETS[name])[form]
    found = REDACT(f"before {text} after")
    assert f"***{name}***" in found
    assert found.startswith("before ")
    assert found.endswith(" after")
    assert len(found) < len(f"before {text} after") + 12
    for line in SECRETS[name].splitlines():
        if not line.startswith("-----"):
            assert line not in found


@pytest.mark.parametrize("text", ["", "nothing here", "***PLAIN***", "S3CR3TCANARY", "s3cr3t Canary", "é☃"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert REDACT(text) == text


def test_nested_values_keys_and_bytes() -> None:
    secret = SECRETS["PLAIN"]
    value = {"a": [1, True, None, 2.5, {"b": f"x{secret}x"}], f"k-{secret}": secret, "t": (secret,)}
    assert REDACT(value) == {
        "a": [1, True, None, 2.5, {"b": "x***PLAIN***x"}],
        "k-***PLAIN***": "***PLAIN***",
        "t": ["***PLAIN***"],
    }
    assert REDACT(b"\xff\x00" + secret.encode() + b"\xfe") == b"\xff\x00***PLAIN***\xfe"
    assert REDACT(SECRETS["WIDE"].encode()) == b"***WIDE***"
    binary = os.urandom(64) + gzip.compress(b"none")
    assert REDACT(binary) == binary


def test_a_number_that_is_a_secret_is_replaced_and_others_are_not() -> None:
    redact = Redactor({"PIN": "483920"})
    assert redact([483920, 4839201, True]) == ["***PIN***", 4839201, True]


def test_short_values_are_replaced_only_when_they_are_the_whole_text() -> None:
    redact = Redactor({"TINY": "abc", "EMPTY": "", "BLANK": "  "})
    assert redact.weak == ("TINY",)
    assert redact(["abc", "abcd", "", "  "]) == ["***TINY***", "abcd", "", "  "]


def test_a_secret_inside_another_and_overlapping_ones_leave_nothing() -> None:
    redact = Redactor({"SHORT": "abcdef", "LONG": "abcdefghij", "NEXT": "ghijklmn"})
    assert redact("abcdefghij") == "***LONG***"
    for part in ("ghij", "klmn", "abcd"):
        assert part not in redact("-abcdefghijklmn-")


def lines(text: str, width: int, newline: str) -> str:
    return newline.join(text[at : at + width] for at in range(0, len(text), width))


@pytest.mark.parametrize("name", ["PLAIN", "SIGNS", "WIDE", "LONG"])
@pytest.mark.parametrize("width", [1, 7, 60, 64, 76])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\n    ", "\\n"])
def test_values_broken_over_lines_at_any_place(name: str, width: int, newline: str) -> None:
    raw = SECRETS[name].encode()
    for before in range(0, 80, 11):
        for encoded in (base64.b64encode(b"." * before + raw + b"." * 80).decode(), (b"." * before + raw).hex()):
            text = lines(encoded, width, newline)
            found = REDACT(text)
            assert f"***{name}***" in found
            assert REDACT(text.encode()) == found.encode()
            stream = REDACT.stream()
            shown = "".join(stream.feed(text[at : at + 11]) for at in range(0, len(text), 11)) + stream.close()
            assert shown == found


@pytest.mark.parametrize("seed", range(40))
def test_a_stream_cut_anywhere_shows_what_the_whole_text_would(seed: int) -> None:
    dice = random.Random(seed)
    plain = {name: value for name, value in SECRETS.items() if name != "LINES"}
    redact = Redactor(plain)
    pieces = ["text ", "\n", "s3cr3t", "p@ss", "0123"]
    for value in plain.values():
        pieces += encodings(value).values()
    text = "|".join(dice.choice(pieces) for _ in range(30))
    stream, shown, at = redact.stream(), "", 0
    while at < len(text):
        size = dice.choice([1, 1, 2, 3, 7, 40])
        shown += stream.feed(text[at : at + size])
        at += size
        for value in plain.values():
            assert value not in shown
    shown += stream.close()
    assert shown == redact(text)


def test_a_stream_holds_back_no_more_than_what_may_become_a_secret() -> None:
    stream = Redactor({"KEY": "hunter2hunter"}).stream()
    assert stream.feed("hello ") == "hello "
    assert stream.feed("hun") == ""
    assert stream.feed("gry") == "hungry"
    assert stream.feed("hunter2hunter") == ""  # its end may begin another one
    assert stream.feed(".") == "***KEY***."
    assert stream.feed("hunter2") + stream.close() == "hunter2"


def test_a_stream_holds_back_a_bounded_part_of_endless_breaks() -> None:
    stream = Redactor({"KEY": "hunter2hunter"}).stream()
    first = base64.b64encode(b"hunter2hunter").decode()[:4]
    assert stream.feed(first) == ""
    shown = "".join(stream.feed("\n" * 50) for _ in range(50))
    assert shown.startswith(first)
    assert len(first) + 2_500 - len(shown) < 300


def test_a_stream_whose_secret_may_yet_become_a_longer_one_waits() -> None:
    stream = Redactor({"A": "abcdef", "B": "abcdefghij"}).stream()
    shown = stream.feed("abcdef") + stream.feed("ghi") + stream.feed("j!") + stream.close()
    assert shown == "***B***!"


def test_reveal_puts_values_in_place_of_markers() -> None:
    marker = secret_marker("PLAIN")
    value = {"h": f"Bearer {marker}", "l": [marker, 1, None], marker: "key"}
    shown = reveal(value, SECRETS)
    assert shown["h"] == "Bearer s3cr3tCanary"
    assert shown["l"] == ["s3cr3tCanary", 1, None]
    assert marker in shown


def test_reveal_names_a_secret_that_has_no_value() -> None:
    with pytest.raises(UnknownSecret, match="GONE") as caught:
        reveal(secret_marker("GONE"), SECRETS)
    assert caught.value.hint
