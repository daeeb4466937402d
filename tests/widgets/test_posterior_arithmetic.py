"""The page's arithmetic is Python's, to 1e-9: posteriors, intervals, spread over sub-samples."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from typing import Any

import pytest
from scipy.special import betainc, betaincinv, gammaln, stdtrit
from scipy.stats import beta

from omniopd.method.posterior import nominal_posterior, shares, spread_interval, subsample_spread
from omniopd_widgets._parts.assets import STATIC

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="no node: apt-get install nodejs")


def in_node(expression: str, data: Any) -> Any:
    """The value of a JavaScript expression over `data`, with the module's functions in scope."""
    code = (STATIC / "_posterior.js").read_text() + f"\nconst data = {json.dumps(data)};\n"
    code += f"process.stdout.write(JSON.stringify({expression}));\n"
    done = subprocess.run(
        ["node", "--input-type=module", "-"], input=code, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_special_functions_are_scipys() -> None:
    draw = random.Random(0)
    pairs = [(draw.uniform(0.02, 3), draw.uniform(0.02, 3)) for _ in range(30)]
    pairs += [(draw.uniform(1, 300), draw.uniform(1, 300)) for _ in range(30)]
    places = [draw.random() for _ in pairs]
    rows = [(x, a, b) for x, (a, b) in zip(places, pairs, strict=True)]
    found = in_node(
        "data.map(([x, a, b]) => "
        "[logGamma(a), betaShare(x, a, b), betaQuantile(x, a, b), betaDensities([x], a, b)[0]])",
        rows,
    )
    for (x, a, b), (log_gamma, share, quantile, density) in zip(rows, found, strict=True):
        assert log_gamma == pytest.approx(gammaln(a), abs=1e-9, rel=1e-11)
        assert share == pytest.approx(betainc(a, b, x), abs=1e-10)
        assert quantile == pytest.approx(betaincinv(a, b, x), abs=1e-9)
        assert density == pytest.approx(beta.pdf(x, a, b), rel=1e-9)
    freedoms = [1, 2, 3, 9, 30, 200]
    assert in_node("data.map((n) => studentQuantile(0.975, n))", freedoms) == pytest.approx(
        [float(stdtrit(n, 0.975)) for n in freedoms], rel=1e-9
    )


@pytest.mark.parametrize("concentration", [0.0, 0.1, 1.0, 7.5])
def test_posteriors_are_pythons(concentration: float) -> None:
    draw = random.Random(int(10 * concentration))
    forks = [
        {"similarities": [draw.random() for _ in range(draw.choice([1, 2, 5, 10, 40]))], "prior": draw.random()}
        for _ in range(12)
    ]
    forks += [{"similarities": [1.0] * 5, "prior": 1.0}, {"similarities": [0.0] * 5, "prior": 0.3}]
    for samples in (1, 2, 4, 40):
        setting = {"concentration": concentration, "samples": samples, "centring": "none"}
        found = in_node("posteriors(data.forks, data.setting, null)", {"forks": forks, "setting": setting})
        for fork, r in zip(forks, found, strict=True):
            values, prior = fork["similarities"], fork["prior"]
            n = min(samples, len(values))
            expected = nominal_posterior(values, prior, concentration, n)
            assert r["mean"] == pytest.approx(expected.mean, abs=1e-9)
            assert (r["agree"], r["disagree"]) == pytest.approx((expected.agree, expected.disagree), abs=1e-9)
            assert r["agree"] / (r["agree"] + r["disagree"]) == pytest.approx(r["mean"], abs=1e-12)
            assert (r["dataShare"], r["priorShare"]) == pytest.approx(shares(n, concentration), abs=1e-9)
            assert r["spread"] == pytest.approx(spread_interval(values, prior, concentration, n), abs=1e-9)
            if expected.agree > 0 and expected.disagree > 1e-12:
                assert r["nominal"] == pytest.approx(expected.interval(), abs=1e-9)
            sub = subsample_spread(values, n, prior, concentration)
            assert (r["sub"]["deviation"], r["sub"]["low"], r["sub"]["high"]) == pytest.approx(
                (sub.deviation, sub.low, sub.high), abs=1e-9
            )
