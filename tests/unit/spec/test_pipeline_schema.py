from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from orchestrator.spec.schema import SCHEMA_FILE, pipeline_schema
from tests.unit.spec.corpus import BROKEN, TESTS, VALID

ROOT = TESTS.parent
CHECK = Path(sys.executable).parent / "check-jsonschema"


def check(files: list[Path]) -> dict[str, set[str]]:
    """What another validator finds in files: ``errors`` against the schema, and files that it cannot read."""
    command = [str(CHECK), "-o", "json", "--schemafile", SCHEMA_FILE, *map(str, files)]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, check=False, text=True)
    report = json.loads(done.stdout)
    assert (done.returncode == 0) == (report["status"] == "ok")
    return {kind: {error["filename"] for error in report.get(kind, [])} for kind in ("errors", "parse_errors")}


def test_the_published_schema_is_that_of_the_models() -> None:
    published = json.loads((ROOT / SCHEMA_FILE).read_text(encoding="utf-8"))
    assert published == pipeline_schema(), "run `orch schema` and keep what it prints"


def test_the_schema_is_one() -> None:
    command = [str(CHECK), "--check-metaschema", SCHEMA_FILE]
    assert subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode == 0


def test_every_object_is_closed_and_described() -> None:
    schema = pipeline_schema()
    for name, definition in schema["$defs"].items():
        if "properties" in definition:
            assert definition["additionalProperties"] is False, name
            assert definition["description"], name
    assert schema["properties"]["budget"] == {"$ref": "#/$defs/Budget"}
    assert schema["$defs"]["Budget"]["properties"]["usd"]["description"] == "Dollars."
    assert len(schema["$defs"]["Step"]["oneOf"]) == 13
    assert "null" not in json.dumps(schema["$defs"]["Budget"])


def test_examples_and_valid_files_pass_another_validator() -> None:
    files = [*sorted((ROOT / "specs").glob("*.yaml")), *sorted(VALID.glob("*.yaml"))]
    assert len(files) >= 3
    assert check(files) == {"errors": set(), "parse_errors": set()}


def test_broken_files_fail_in_another_validator() -> None:
    # what is broken as YAML is no matter of a schema, and the other validator breaks on a lone surrogate
    found = check([path for path in sorted(BROKEN.glob("*.yaml")) if not path.stem.startswith("yaml_")])
    assert len(found["errors"]) >= 40
