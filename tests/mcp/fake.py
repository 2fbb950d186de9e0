"""A server for tests, over stdio, of the standard library alone: ``python fake.py MODE``.

In mode ``good`` it behaves; the others misbehave in one way each.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

MODE = sys.argv[1] if len(sys.argv) > 1 else "good"
OBJECT: dict[str, Any] = {"type": "object", "properties": {"text": {"type": "string"}}}


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "description": f"The tool {name}.", "inputSchema": OBJECT, **more}


def tools() -> list[dict[str, Any]]:
    hints = {"look": {"readOnlyHint": True}, "keep": {"idempotentHint": True}, "act": {}}
    found = [tool(name, annotations=hint) for name, hint in hints.items()]
    names = "echo fail env media die hang odd deep.name count words structured null pid"
    found += [tool(name) for name in names.split()]
    match MODE:
        case "many" | "several":
            return [tool(f"t{index}") for index in range(100_000 if MODE == "many" else 600)]
        case "wide":
            return [tool("echo", description="d" * 10_000_000)]
        case "schemas":
            other = [
                tool("big", inputSchema={"type": "object", "description": "x" * 100_000}),
                tool("broken", inputSchema={"type": "object", "properties": {"a": {"type": "nonsense"}}}),
                tool("remote", inputSchema={"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/s"}}}),
                tool(
                    "ahead",
                    inputSchema={"type": "object", "properties": {"a": {"type": "string", "pattern": "^(?=x)"}}},
                ),
                tool("n" * 300),
            ]
            return found + other
        case "unreadable":
            bad: list[Any] = [tool("str", inputSchema="nope"), tool("none", inputSchema=None), {"name": "bare"}]
            bad += [tool("about", description=[1]), {"inputSchema": OBJECT}, tool("n") | {"name": 5}, "text", None, 1]
            return [*bad, tool("echo")]
        case "changed" if Path("changed").exists():
            return [tool("other")]
        case _:
            return found


def call(name: str, args: dict[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
    text = args.get("text", "")
    if MODE == "changed" and Path("changed").exists():
        raise KeyError(name)
    match name:
        case "echo":
            return said(text)
        case "fail":
            return said(f"cannot {text}") | {"isError": True}
        case "env":
            return said(json.dumps(dict(os.environ)))
        case "pid":
            return said(str(os.getpid()))
        case "media":
            image = {"type": "image", "mimeType": "image/png", "data": "AAAA" * 1000}
            blob = {"type": "resource", "resource": {"uri": "x://y", "blob": "AAAA"}}
            return {"content": [{"type": "text", "text": "see"}, image, blob]}
        case "structured":
            return said("ignored") | {"structuredContent": {"a": 1, "b": None}}
        case "words":
            return {"content": [{"type": "text", "text": word} for word in text.split()]}
        case "count" | "act" | "look" | "keep":
            with Path("calls").open("a") as file:
                file.write(f"{name} {meta.get('orchestrator/idempotencyKey', '-')}\n")
            return said(f"{name} done")
        case "die":
            sys.stderr.write("first\nout of memory\n")
            sys.stderr.flush()
            os._exit(7)
        case "hang":
            Path("hangs").touch()
            time.sleep(3600)
        case "odd":
            return {"content": "no list"}
        case _:
            raise KeyError(name)
    raise AssertionError(name)


def said(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(request: dict[str, Any]) -> None:
    method, params = request["method"], request.get("params") or {}
    if method == "initialize":
        version = params["protocolVersion"]
        about = {"name": "fake", "version": "1"}
        send(
            {
                "id": request["id"],
                "result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": about},
            }
        )
    elif method == "tools/list":
        send({"id": request["id"], "result": {"tools": tools()}})
    elif method == "tools/call":
        before_call(request)
        try:
            result = call(params["name"], params.get("arguments") or {}, params.get("_meta") or {})
        except KeyError as error:
            send(
                {"id": request["id"], "error": {"code": -32602, "message": f"Unknown tool: {error}", "data": {"a": 1}}}
            )
            return
        send({"id": "1e9" if MODE == "ids" else request["id"], "result": result})
    else:
        send({"id": request["id"], "error": {"code": -32601, "message": "Method not found"}})


def before_call(request: dict[str, Any]) -> None:
    """What goes wrong in a call."""
    match MODE:
        case "endless":
            while True:
                sys.stdout.write("x" * 65_536)
        case "flood":
            while True:
                sys.stdout.write("no message at all\n" * 1000)
        case "notify":
            line = json.dumps({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
            sys.stdout.write(f"{line}\n" * 20_000)
        case "ask":
            for number in range(20_000):
                send({"id": f"mine{number}", "method": "sampling/createMessage", "params": {}})
        case "stderr":
            sys.stderr.write("noise\n" * 3_000_000)
        case "ids":
            for bad in (None, [1], {"a": 1}, True, 10**30, -1):
                send({"id": bad, "result": {"content": []}})
        case "error":
            send({"id": request["id"], "error": {"code": -32000, "message": "the disk is full"}})
        case _:
            pass


def main() -> None:
    match MODE:
        case "exits":
            sys.stderr.write("no configuration\n")
            sys.exit(3)
        case "banner":
            sys.stdout.write("Welcome!\n\n{} [] null 12\n")
            sys.stdout.flush()
        case "mute":
            time.sleep(3600)
        case "children":
            if os.fork() == 0:
                os.setsid()
                Path("child").write_text(str(os.getpid()))
                time.sleep(3600)
        case _:
            pass
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request and "method" in request:
            answer(request)


if __name__ == "__main__":
    main()
