from __future__ import annotations

import pytest

from tests.unit.compiler.helpers import said


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://x.example:0/", "there is no port 0"),
        ("https://x.example:99999/", "Port out of range 0-65535"),
        ("https://[::1/", "Invalid IPv6 URL"),
        ("https:///path", "the host is missing"),
    ],
)
def test_a_url_that_can_never_be_asked_is_said(url: str, why: str) -> None:
    (found,) = said(f"tools: {{t: {{http: {{url: '{url}'}}}}}}\nsteps: {{a: {{tool: t}}}}")
    assert found == ("E107", f"this is not a URL that can be asked: {why}")
