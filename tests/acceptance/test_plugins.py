"""Model providers of other packages: named by the file, or never imported."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.test_cli import document, orch

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = """\
from pathlib import Path

(Path(__file__).parent / "imported").touch()

from orchestrator.agents.messages import Reply, Usage


class Parrot:
    async def call(self, request, context):
        said = request.messages[-1]["content"][0]["text"]
        return Reply([{"type": "text", "text": f"{said} {request.settings['params']['cry']}"}], "end_turn", Usage(1, 1))

    async def aclose(self):
        pass
"""
PIPELINE = """\
version: 1
name: plugged
models:
  default: MODEL
steps:
  talk: {agent: {}, prompt: Polly}
outputs: {said: "${{ steps.talk.output }}"}
"""
PARROT = "{provider: parrot, params: {cry: wants a cracker}}"
SCRIPTED = "{provider: scripted, replies: [{text: hello}]}"


class Bench:
    """A folder with a pipeline, and a site with installed packages that offer ``parrot``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site"

    def install(self, distribution: str, module: str, source: str, target: str = "Parrot") -> None:
        info = self.site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[orchestrator.providers]\nparrot = {module}:{target}\n")
        (self.site / f"{module}.py").write_text(source)

    def orch(self, verb: str, *args: str, model: str = SCRIPTED):
        (self.folder / "p.yaml").write_text(PIPELINE.replace("MODEL", model))
        return orch(self.folder, *args, verb, *([] if verb == "doctor" else ["p.yaml"]), PYTHONPATH=str(self.site))

    @property
    def imported(self) -> bool:
        return (self.site / "imported").exists()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    found = Bench(tmp_path)
    found.install("fancy-models", "fancy_models", PLUGIN)
    return found


def test_one_that_the_file_names_is_called(bench: Bench) -> None:
    assert document(bench.orch("run", model=PARROT)) == {"said": "Polly wants a cracker"}
    assert bench.imported


@pytest.mark.parametrize("verb", ["run", "validate", "graph", "doctor"])
def test_one_that_no_file_names_is_never_imported(bench: Bench, verb: str) -> None:
    done = bench.orch(verb, "--json")
    assert done.returncode in (0, 1), done.stderr
    assert not bench.imported


def test_a_file_that_names_it_is_checked_without_it(bench: Bench) -> None:
    done = bench.orch("validate", model=PARROT)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = bench.orch("validate", model="{provider: parot, model: m}")
    assert wrong.returncode == 1
    assert "E460" in wrong.stdout
    assert "did you mean `parrot`?" in wrong.stdout
    assert not bench.imported


def test_the_doctor_says_where_it_comes_from(bench: Bench) -> None:
    checks = json.loads(bench.orch("doctor", "--json").stdout)["checks"]
    (found,) = [check for check in checks if check["name"] == "plug-in"]
    assert (found["status"], found["detail"]) == ("ok", "providers parrot = fancy_models:Parrot from fancy-models")


def test_two_packages_that_offer_one_name_are_refused(bench: Bench) -> None:
    bench.install("other-models", "other_models", PLUGIN)
    done = bench.orch("run", model=PARROT)
    assert done.returncode == 1, done.stderr
    message = json.loads(done.stdout)["error"]["message"]
    assert "fancy-models, other-models" in message
    assert not bench.imported


def test_one_that_cannot_be_loaded_is_said_and_no_traceback(bench: Bench) -> None:
    (bench.site / "fancy_models.py").write_text("import a_module_that_is_not_there\n")
    done = bench.orch("run", model=PARROT)
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert "fancy-models" in error["message"]
    assert "a_module_that_is_not_there" in error["message"]
    assert "Traceback" not in done.stderr


def test_one_that_is_built_in_is_what_it_is(bench: Bench) -> None:
    entry = bench.site / "fancy_models-1.0.dist-info" / "entry_points.txt"
    entry.write_text("[orchestrator.providers]\nscripted = fancy_models:Parrot\n")
    assert document(bench.orch("run")) == {"said": "hello"}
    assert not bench.imported
