from __future__ import annotations

import subprocess
import sys

import pytest

from orchestrator.errors import Exit
from orchestrator.providers import NAMES, UnknownProvider, load_provider, missing_key
from orchestrator.spec.agents import PROVIDERS


@pytest.mark.parametrize("name", NAMES)
def test_each_name_has_its_provider(name: str) -> None:
    provider = load_provider(name)
    assert callable(provider.call)
    assert callable(provider.aclose)


def test_the_language_knows_what_is_built_in() -> None:
    assert {*NAMES, "fallback"} == set(PROVIDERS)


def test_a_name_that_is_none_says_what_was_meant() -> None:
    with pytest.raises(UnknownProvider) as caught:
        load_provider("antropic")
    assert (caught.value.exit, caught.value.hint) == (Exit.USAGE, "did you mean `anthropic`?")
    with pytest.raises(UnknownProvider) as other:
        load_provider("xyz")
    assert "scripted" in (other.value.hint or "")


def test_loading_a_provider_imports_nothing_heavy() -> None:
    heavy = ("anthropic", "openai", "httpx2", "pydantic", "re2")
    code = (
        "import sys; from orchestrator.providers import NAMES, load_provider\n"
        "from orchestrator.providers.prices import price_of\n"
        "[load_provider(name) for name in NAMES]\n"
        f"sys.exit(' '.join(name for name in {heavy} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")


@pytest.mark.parametrize(
    ("settings", "environ", "missing"),
    [
        ({"provider": "anthropic"}, {}, "ANTHROPIC_API_KEY"),
        ({"provider": "anthropic"}, {"ANTHROPIC_API_KEY": ""}, "ANTHROPIC_API_KEY"),
        ({"provider": "anthropic"}, {"ANTHROPIC_API_KEY": "x"}, None),
        ({"provider": "anthropic", "base_url": "http://127.0.0.1:1"}, {}, None),
        ({"provider": "anthropic", "api_key": "x"}, {}, None),
        ({"provider": "openai"}, {"ANTHROPIC_API_KEY": "x"}, "OPENAI_API_KEY"),
        ({"provider": "openai"}, {"OPENAI_API_KEY": "x"}, None),
        ({"provider": "openai", "base_url": "http://127.0.0.1:1"}, {}, None),
        ({"provider": "scripted"}, {}, None),
        ({"provider": "parrot"}, {}, None),
    ],
)
def test_a_missing_key_is_known_before_a_call(
    settings: dict[str, str], environ: dict[str, str], missing: str | None
) -> None:
    assert missing_key(settings, environ) == missing
