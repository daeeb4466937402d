"""What becomes of a call by each of litellm's providers where the server redirects it: `python -m tests.wire.survey`.

A process of its own, since litellm leaves connections of rarer providers open. Prints {provider: [requests, reason]},
and under "" the requests that reached the other server.
"""

from __future__ import annotations

import json

import tests.conftest  # noqa: F401  (no network beyond this machine)
from omniopd.teachers.access.guard import prepare
from omniopd.teachers.hosted.background import run
from omniopd.teachers.hosted.failures import Failure
from omniopd.teachers.hosted.transport import send
from tests.wire.breaking import Breaking, redirect, response
from tests.wire.saying import KEY, Said, chat


def survey() -> dict[str, list]:
    litellm = prepare()
    good = response(json.dumps(chat(Said(words=["stop"]))).encode())
    found: dict[str, list] = {}
    with Breaking(lambda body: good) as thief, Breaking(lambda body: redirect(307, thief.url)) as server:
        words = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 8, "api_key": KEY}
        for provider in sorted({getattr(p, "value", p) for p in litellm.provider_list} - {"vllm"}):
            before, model = len(server.requests), f"{provider}/m"
            told = run(lambda desk, m=model: send({"model": m, "api_base": server.url + "/v1", **words}, 5))
            assert isinstance(told, Failure), provider
            found[provider] = [len(server.requests) - before, told.reason]
        found[""] = [len(thief.requests), ""]
    return found


if __name__ == "__main__":
    print(json.dumps(survey()))
