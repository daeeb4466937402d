"""How the server of these tests streams a text: token by token, in OpenAI's frames, until nobody listens any more."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(r"\s*\S+|\s+")


@dataclass(slots=True)
class Streams:
    """`token_s` passes before each token. `counts` is when tokens are counted: "end", "always" or "never".
    `options`: whether `stream_options` are taken at all (True) or refused. `refuses`: no stream is given."""

    token_s: float = 0.0
    counts: str = "end"
    options: bool = True
    refuses: bool = False

    async def send(
        self, writer: asyncio.StreamWriter, whole: dict[str, Any], body: dict[str, Any], seen: Any, fault: str | None
    ) -> bool:
        """Sends the text of `whole`. Faults: "truncated" (the connection goes in mid-stream), "ends early" (no finish
        reason), "garbage", "error frame", "stalls"."""
        if self.refuses or ("stream_options" in body and not self.options):
            what = "stream" if self.refuses else "stream_options"
            return await _refuse(writer, f"{what} is not supported here")
        [choice] = whole["choices"]
        text = choice["text"] if "text" in choice else choice["message"]["content"]
        tokens, finish = _TOKEN.findall(text), choice["finish_reason"]
        if len(tokens) > (most := body.get("max_tokens") or len(tokens)):
            tokens, finish = tokens[:most], "length"
        seen.wanted = len(tokens) + (finish == "stop")
        writer.write(b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for token in tokens:
            if self.token_s:
                await asyncio.sleep(self.token_s)
            if fault is not None and seen.written == 1 + len(tokens) // 2:
                return await self._break(writer, fault)
            if writer.transport.is_closing():
                raise ConnectionError("nobody listens")
            seen.written += 1
            usage = self._usage(whole, seen) if self.counts == "always" else None
            self._frame(writer, whole, self._said(choice, token), usage)
            await writer.drain()
        seen.written = seen.wanted
        usage = self._usage(whole, seen) if self.counts == "always" else None
        self._frame(writer, whole, self._said(choice, "") | {"finish_reason": finish}, usage)
        if self.counts == "end" and body.get("stream_options", {}).get("include_usage"):
            self._frame(writer, whole, None, self._usage(whole, seen))
        _chunk(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    @staticmethod
    async def _break(writer: asyncio.StreamWriter, fault: str) -> bool:
        if fault == "truncated":
            writer.transport.abort()
            return False
        if fault == "stalls":
            await asyncio.sleep(3600)
        if fault == "garbage":
            _chunk(writer, b"data: {not JSON\n\n")
        if fault == "error frame":
            _chunk(writer, b'data: {"error": {"message": "told to fail"}}\n\n')
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    @staticmethod
    def _said(choice: dict[str, Any], token: str) -> dict[str, Any]:
        said = {"text": token} if "text" in choice else {"delta": {"content": token}}
        return {"index": 0, "finish_reason": None, **said}

    @staticmethod
    def _usage(whole: dict[str, Any], seen: Any) -> dict[str, Any]:
        read = whole["usage"]["prompt_tokens"]
        return {"prompt_tokens": read, "completion_tokens": seen.written, "total_tokens": read + seen.written}

    @staticmethod
    def _frame(writer: asyncio.StreamWriter, whole: dict[str, Any], choice: Any, usage: Any) -> None:
        names = ("id", "object", "created", "model", "system_fingerprint")
        frame = {name: whole[name] for name in names if name in whole}
        frame |= {"choices": [] if choice is None else [choice], "usage": usage}
        _chunk(writer, f"data: {json.dumps(frame)}\n\n".encode())


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


async def _refuse(writer: asyncio.StreamWriter, what: str) -> bool:
    body = json.dumps({"error": {"message": what, "type": "invalid_request_error", "code": 400}}).encode()
    head = f"HTTP/1.1 400 X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    return True
