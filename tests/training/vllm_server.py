"""A server on loopback that speaks what TRL says to `vllm serve`, and really samples: a small model of its own, whose
weights are those that it was sent last.

The weights of a real one come by NCCL, between GPUs: here they come through `weights`, which the test fills where TRL
would broadcast. Everything else is HTTP.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

OPEN: dict[str, Any] = {"vllm_config": {"weight_transfer_config": {"backend": "nccl"}}}


class VLLMServer:
    """`model` answers; `asked` holds what was posted, by path; `info` is what `/server_info` says (None: a 404)."""

    def __init__(self, model: Any, end_ids: list[int], info: dict[str, Any] | None = OPEN) -> None:
        self.model, self.end_ids, self.info = model, end_ids, info
        self.asked: list[tuple[str, Any]] = []
        self.weights: queue.Queue[list[tuple[str, torch.Tensor]]] = queue.Queue()
        self.drift = 0.0  # of what it says that it drew with, in nats
        self.url = ""

    def get(self, path: str) -> Any:
        if path == "/health":
            return {}
        if path == "/v1/models":
            return {"data": [{"id": "student"}]}
        if path.startswith("/server_info"):
            return self.info
        return {"world_size": 1} if path == "/get_world_size" else None

    def post(self, path: str, body: Any) -> Any:
        self.asked.append((path, body))
        if path == "/v1/completions":
            return {"choices": [self.choice(ids, body) for ids in body["prompt"]]}
        if path == "/update_weights":
            sent = self.weights.get(timeout=60)
            assert [name for name, _ in sent] == body["update_info"]["names"]
            self.model.load_state_dict(dict(sent), strict=False)  # tied ones are sent once
        return {"success": True}

    @torch.no_grad()
    def choice(self, prompt: list[int], body: Any) -> dict[str, Any]:
        """One answer, token by token, and the log-probability of each."""
        ids, drawn = list(prompt), []
        while len(drawn) < body["max_tokens"] and (not drawn or drawn[-1][0] not in self.end_ids):
            logits = self.model(input_ids=torch.tensor([ids])).logits[0, -1].float() / body["temperature"]
            token = int(logits.softmax(-1).multinomial(1))
            drawn.append((token, float(logits.log_softmax(-1)[token]) + self.drift))
            ids.append(token)
        names = [f"token_id:{token}" for token, _ in drawn]
        values = [value for _, value in drawn]
        logprobs = None if body["logprobs"] is None else {
            "tokens": names, "token_logprobs": values,
            "top_logprobs": [{n: v} for n, v in zip(names, values, strict=True)],
        }  # fmt: skip
        return {"prompt_token_ids": prompt, "token_ids": ids[len(prompt) :], "logprobs": logprobs}


@contextmanager
def serving(server: VLLMServer) -> Iterator[VLLMServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(server.get(self.path))

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.answer(server.post(self.path, json.loads(text) if text else None))

        def answer(self, found: Any) -> None:
            text = json.dumps(found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *words: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
