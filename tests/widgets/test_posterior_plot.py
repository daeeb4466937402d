"""Facts about the posterior plot: what it shows is what Python computes, at once, and nothing paid happens unasked."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import expect
from traitlets import TraitError

from omniopd.method.similarity import without_model
from omniopd_widgets._parts.prices import TokenPrice, quote, usage_of
from omniopd_widgets.posterior_plot import Order, PosteriorPlot
from tests.widgets.audited import audit, rollout

ROW = ".oopd-posterior-list tbody tr"


def on_screen(mounted: Any) -> list[list[str]]:
    return [row.locator("td").all_inner_texts()[1:] for row in mounted.find(ROW).all()]


def as_shown(view: PosteriorPlot) -> list[list[str]]:
    rows = []
    for r in view.results():
        sign = "−" if r["weight"] < 0 else "+"
        rows.append(
            [f"{r['posterior_mean']:.3f}", f"{r['share']:.3f}", f"{r['prior']:.3f}",
             f"{r['spread'][0]:.2f} – {r['spread'][1]:.2f}", f"{sign}{abs(r['weight']):.3f}"]
        )  # fmt: skip
    return rows


def drag(mounted: Any, selector: str, value: float, end: bool = True) -> None:
    """What the browser sends while a slider is dragged, and when it is let go."""
    mounted.find(selector).evaluate(
        "(input, [value, end]) => { input.value = value; input.dispatchEvent(new Event('input', { bubbles: true }));"
        " if (end) input.dispatchEvent(new Event('change', { bubbles: true })); }",
        [str(value), end],
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"concentration": 4.0},
        {"concentration": 0.0, "samples": 3},
        {"samples": 1},
        {"similarity": "rouge1"},
        {"similarity": "exact", "centring": "others"},
        {"centring": "these", "samples": 7},
    ],
)
def test_what_is_on_screen_is_what_python_computes(mount, settings) -> None:
    view = PosteriorPlot(rollout(1), others=[rollout(1, row=1), rollout(1, row=2)])
    mounted = mount(view)
    mounted.assign(**settings)
    mounted.frame()
    assert [[*row[:1], *row[2:]] for row in on_screen(mounted)] == as_shown(view)


def test_a_posterior_has_the_mean_that_training_weighs_by() -> None:
    view = PosteriorPlot(rollout(2))
    for r, a in zip(view.results(), rollout(2).audits, strict=True):
        assert r["agree"] / (r["agree"] + r["disagree"]) == pytest.approx((a.soft_count + a.prior) / 11, abs=1e-9)


def test_a_drag_is_on_screen_before_python_hears_of_it(mount) -> None:
    view = PosteriorPlot(rollout(1))
    mounted = mount(view)
    before = [row[0] for row in on_screen(mounted)]
    for value in (2, 5, 8):
        drag(mounted, "input[aria-label^=α][type=range]", value, end=False)
    assert view.concentration == 1.0
    dragged = on_screen(mounted)
    assert [row[1] for row in dragged] == before, "the ghost is the setting at the start of the drag"
    drag(mounted, "input[aria-label^=α][type=range]", 8)
    mounted.page.wait_for_function("harness.models[Object.keys(harness.models)[0]].model.get('concentration') === 8")
    mounted.settle()
    assert view.concentration == 8.0
    assert [row[0] for row in on_screen(mounted)] == [row[0] for row in as_shown(view)]
    mounted.assign(concentration=2.0)
    for _ in range(100):  # frames, on a machine that has other things to do
        mounted.frame()
        if [row[1] for row in on_screen(mounted)] == [row[0] for row in dragged]:
            break
    assert [row[1] for row in on_screen(mounted)] == [row[0] for row in dragged], "after it, the setting before"


def test_new_posteriors_are_on_screen_within_a_tenth_of_a_second(mount) -> None:
    """10 forks × 10 texts; the fastest of a few, since the machine of a test has other things to do."""
    mounted = mount(PosteriorPlot(rollout(1, forks=10, samples=10)))
    took = mounted.page.evaluate(
        """async () => {
          const input = document.querySelector('input[type=range]');
          const took = [];
          for (let i = 1; i <= 8; i += 1) {
            const start = performance.now();
            input.value = i;
            input.dispatchEvent(new Event('input', { bubbles: true }));
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
            took.push(performance.now() - start);
          }
          return took;
        }"""
    )
    assert min(took) < 100


def test_each_control_wears_its_price_and_has_a_name(mount) -> None:
    mounted = mount(PosteriorPlot(rollout(1)))
    mounted.click("details.oopd-posterior-paid summary")
    assert mounted.find(".oopd-posterior-controls .oopd-price").all_inner_texts() == [
        "free", "free", "free", "free", "already asked",
    ]  # fmt: skip
    for control in mounted.find("input, select, button").all():
        assert control.get_attribute("aria-label") or control.inner_text().strip()
    mounted.find("select[aria-label^='compare by']").select_option("tokens")
    mounted.settle()
    assert mounted.view.similarity == "tokens"
    expect(mounted.find(".oopd-posterior-controls .oopd-price").nth(2)).to_have_text(re.compile("^local, "))


def test_typing_a_price_asks_nobody_and_enter_asks_once(mount) -> None:
    record = rollout(1)
    view, orders = PosteriorPlot(record), []
    view.on_pay(orders.append)
    mounted = mount(view)
    mounted.click("details.oopd-posterior-paid summary")
    mounted.find("[data-name=samples]").fill("25")
    mounted.settle()
    assert (orders, view.order) == ([], {})
    expected = quote(usage_of(record.audits), 10, 25, 6)
    badge = mounted.find(".oopd-posterior-paid .oopd-price")
    assert badge.get_attribute("data-kind") == "paid"
    assert f"{expected.output_tokens:,} written" in badge.inner_text()
    mounted.press("Enter")
    assert orders == [Order(10, 25, 6, expected)]
    mounted.find("[data-name=samples]").fill("4")
    mounted.press("Enter")
    assert len(orders) == 1, "fewer texts than at hand are there already"


def test_an_order_without_anyone_to_take_it_says_so(mount) -> None:
    mounted = mount(PosteriorPlot(rollout(1)))
    mounted.click("details.oopd-posterior-paid summary")
    mounted.find("[data-name=forks]").fill("12")
    mounted.settle()
    mounted.press("Enter")
    assert "No teacher is connected" in mounted.text(".oopd-problem")


def test_what_is_taken_back_is_not_called() -> None:
    view, orders = PosteriorPlot(rollout(1)), []
    take_back = view.on_pay(orders.append)
    take_back()
    view.order = {"forks": 20, "samples": 10, "chunk_tokens": 6, "serial": 1}
    assert orders == []


def test_a_similarity_compares_once_and_a_failing_one_changes_nothing() -> None:
    calls = []

    def embedding(chunk: str, texts: Any) -> list[float]:
        calls.append(chunk)
        return [0.5] * len(texts)

    def broken(chunk: str, texts: Any) -> list[float]:
        raise RuntimeError("no weights in <folder>")

    view = PosteriorPlot(rollout(1), more_similarities={"embedding": embedding, "broken": broken})
    recorded = view.similarities
    for name in ("embedding", "characters", "embedding"):
        view.similarity = name
    assert len(calls) == 10
    assert view.similarities == [[0.5] * 10] * 10
    view.similarity = "broken"
    assert (view.similarity, view.similarities) == ("recorded", recorded)
    assert "no weights in <folder>" in view.problem
    view.similarity = "characters"
    assert view.problem == ""
    assert [name["name"] for name in view.similarity_names] == ["recorded", *without_model(), "embedding", "broken"]


def test_it_opens_on_the_fork_where_the_student_hesitated_most_and_keys_move_on(mount) -> None:
    record = rollout(1)
    view = PosteriorPlot(record)
    assert view.selected == max(record.audits, key=lambda a: a.entropy).start
    mounted = mount(view)
    view.selected = record.audits[0].start
    mounted.settle()
    mounted.press("n", "n", "p")
    assert view.selected == record.audits[1].start
    mounted.press("+")
    mounted.page.wait_for_function("harness.models[Object.keys(harness.models)[0]].model.get('concentration') > 1")
    mounted.settle()
    assert view.concentration == pytest.approx(1.1)
    mounted.click(f"{ROW}:nth-child(4) button")
    assert view.selected == record.audits[3].start
    assert mounted.leaked_keys() == []


def test_impossible_settings_are_refused_with_what_is_possible() -> None:
    view = PosteriorPlot(rollout(1))
    for name, value, words in [
        ("samples", 11, "1 to 10"), ("concentration", -1.0, "between 0"), ("similarity", "bleu", "characters"),
    ]:  # fmt: skip
        with pytest.raises(TraitError, match=words):
            setattr(view, name, value)


def test_other_audits_are_shown_under_the_same_settings(mount) -> None:
    view = PosteriorPlot(concentration=3.0)
    mounted = mount(view)
    assert "ask the teacher" in mounted.text(".oopd-body")
    view.show([audit(start=9)])
    mounted.settle()
    mounted.frame()
    assert (view.selected, view.samples, view.concentration) == (9, 3, 3.0)
    assert [[*row[:1], *row[2:]] for row in on_screen(mounted)] == as_shown(view)


@pytest.mark.parametrize(
    "values", [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.4,), (0.4,) * 64], ids=["all", "none", "one", "same"]
)
def test_extreme_evidence_is_drawn(mount, values) -> None:
    one = replace(audit(prior=1.0), similarities=values, texts=("x",) * len(values), soft_count=sum(values))
    view = PosteriorPlot([one])
    mounted = mount(view)
    for alpha in (0.0, 1.0, 300.0):
        mounted.assign(concentration=alpha)
        mounted.frame()
        assert [[*row[:1], *row[2:]] for row in on_screen(mounted)] == as_shown(view)
    assert "NaN" not in mounted.root.inner_html()


def test_the_inert_picture_has_the_numbers_and_stays_small(inert) -> None:
    view = PosteriorPlot(rollout(1))
    text = inert(view).inner_text("body")
    for r in view.results():
        assert f"{r['posterior_mean']:.3f}" in text
    many = PosteriorPlot(rollout(1, forks=300, samples=3))
    assert len(many.fallback_html().encode()) <= 30_000
    assert repr(view) == "PosteriorPlot(10 forks, 10 texts each, α = 1)"


def test_prices_are_learnt_from_what_was_paid() -> None:
    audits = rollout(1).audits
    usage = usage_of(audits)
    assert (usage.usd_per_input, usage.usd_per_output) == pytest.approx((1e-6, 5e-6))
    assert quote(usage, 10, 10, 6).is_free
    assert str(quote(usage, 5, 5, 6)) == "free"
    more = quote(usage, 10, 20, 6)
    assert more == TokenPrice(usage.input_tokens, usage.output_tokens, pytest.approx(usage.cost_usd))
    assert quote(usage, 10, 11, 6).input_tokens == usage.input_tokens, "one more text reads every prefix again"
    assert quote(usage, 10, 10, 12).output_tokens == 2 * usage.output_tokens


def test_unpaid_audits_cost_nothing_and_cached_ones_hide_the_price() -> None:
    local = [replace(a, cost_usd=0.0) for a in rollout(1).audits]
    assert quote(usage_of(local), 20, 10, 6).cost_usd == 0
    cached = [replace(a, cost_usd=0.0, cached=True) for a in local]
    price = quote(usage_of(cached), 20, 10, 6)
    assert price.cost_usd is None
    assert "an unknown price" in str(price)
    unknown = usage_of([replace(a, input_tokens=0, output_tokens=0, cost_usd=0.0) for a in local])
    assert unknown.output_tokens == 10 * 10 * 6
    flat = [replace(a, input_tokens=100, cost_usd=0.02) for a in rollout(1).audits]
    assert usage_of(flat).usd_per_output == pytest.approx(5 * usage_of(flat).usd_per_input)
