"""A server that is a program: messages as lines on its stdin and stdout.

The SDK's own transport passes variables on that are not ours to pass, reads lines of any length, and leaves the program
to itself when this process is killed; here a guard keeps it.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from orchestrator.tools.mcp_gate import QUEUED
from orchestrator.tools.policy import KEPT
from orchestrator.tools.processes import lasting

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from anyio.abc import ObjectReceiveStream, ObjectSendStream
    from mcp.client._transport import TransportStreams

    from orchestrator.tools.mcp_wire import Wire
    from orchestrator.tools.processes import Lasting

LEAVE = 0.3
"""Seconds that a server has to end by itself when its stdin is closed; then it gets TERM, and KILL a second later."""

_CHUNK = 65_536


@asynccontextmanager
async def stdio(
    argv: Sequence[str], wire: Wire, *, env: Mapping[str, str], folder: str
) -> AsyncGenerator[TransportStreams]:
    """The streams of a program with exactly the variables of ``env``; at the end nothing of it is left.

    OSError where there are no more descriptors; a program that cannot be started is one that has ended.
    """
    async with lasting(argv, env=env, folder=folder) as program:
        inward, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        write, outward = anyio.create_memory_object_stream[SessionMessage](QUEUED)
        said, writing = anyio.Event(), anyio.CancelScope()
        async with inward, read, write, outward, anyio.create_task_group() as tasks:
            tasks.start_soon(_read, program, inward, wire)
            tasks.start_soon(_hear, program, wire, said)
            tasks.start_soon(_write, program, outward, writing)
            try:
                yield read, write
            finally:
                writing.cancel()
                with anyio.CancelScope(shield=True):
                    await anyio.lowlevel.checkpoint()  # so that nobody waits on the descriptor that is closed now
                    program.close_stdin()
                    with anyio.move_on_after(LEAVE):
                        await program.ended()
                    wire.exit = await program.end()
                    with anyio.move_on_after(LEAVE):
                        await said.wait()
                tasks.cancel_scope.cancel()


async def _read(program: Lasting, inward: ObjectSendStream[SessionMessage | Exception], wire: Wire) -> None:
    """Lines to messages, until the program closes its stdout, or what it says is too much."""
    line = bytearray()
    async with inward:
        while not wire.over.is_set():
            chunk = await _take(program.stdout)
            if not chunk:
                return
            *ends, rest = chunk.split(b"\n")
            for end in ends:
                line += end
                if not await _pass_on(bytes(line), inward, wire):
                    return
                line.clear()
            line += rest
            if len(line) > KEPT:
                wire.end(f"it sent a line of over {KEPT} bytes")


async def _pass_on(line: bytes, inward: ObjectSendStream[SessionMessage | Exception], wire: Wire) -> bool:
    """Hand a line on; False where nobody takes it any more."""
    if not line.strip():
        return True
    try:
        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        wire.hear(line)
        return True
    try:
        await inward.send(SessionMessage(message))
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return False
    return True


async def _hear(program: Lasting, wire: Wire, said: anyio.Event) -> None:
    while chunk := await _take(program.stderr):
        wire.stderr.add(chunk)
    said.set()


async def _take(descriptor: int) -> bytes:
    """What there is to read, empty at the end."""
    os.set_blocking(descriptor, False)
    while True:
        await anyio.wait_readable(descriptor)
        try:
            return os.read(descriptor, _CHUNK)
        except BlockingIOError:
            continue


async def _write(program: Lasting, outward: ObjectReceiveStream[SessionMessage], scope: anyio.CancelScope) -> None:
    os.set_blocking(program.stdin, False)
    with scope:
        async with outward:
            async for item in outward:
                body = item.message.model_dump_json(by_alias=True, exclude_unset=True).encode("utf-8", "replace")
                left = memoryview(body + b"\n")
                while left:
                    await anyio.wait_writable(program.stdin)
                    try:
                        left = left[os.write(program.stdin, left[:_CHUNK]) :]
                    except BrokenPipeError:
                        return  # it has closed its stdin; what it says, or that it ends, is seen elsewhere
