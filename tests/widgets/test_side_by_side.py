"""Views share a page, and with it all style sheets: each looks beside the others as it does alone."""

from __future__ import annotations

import pytest

from omniopd_widgets import (
    AuditPanel,
    CheckpointPair,
    ForkExplorer,
    Launcher,
    PosteriorPlot,
    RolloutView,
    RunBrowser,
    TrainingMonitor,
    UpdateLedger,
)
from tests.widgets import watched
from tests.widgets.records import rollout_record
from tests.widgets.test_checkpoint_pair import two

# Every element of each view under its own sheet alone, and with the others before and after it.
LOOKS = r"""() => {
  const NAMES = ["display", "width", "height", "margin", "padding", "font", "color", "background", "border", "outline",
    "overflow", "white-space", "text-decoration-line", "text-align", "fill", "stroke", "stroke-width", "columns"];
  const sheets = [...document.head.querySelectorAll("style")];
  const views = [...document.querySelectorAll(".oopd-view")];
  const elements = (view) => [view, ...view.querySelectorAll("*")];
  const look = (element) => [null, "::before", "::after"].map((part) => {
    const style = getComputedStyle(element, part);
    if (part && style.content === "none") return "";
    return NAMES.map((name) => `${name}: ${style.getPropertyValue(name)}`).join("\n");
  });
  const found = [];
  views.forEach((view, v) => {
    sheets.forEach((sheet, s) => { sheet.disabled = s !== v; });
    const alone = elements(view).map(look);
    sheets.forEach((sheet) => { sheet.disabled = false; });
    for (const place of ["prepend", "append"]) {
      document.head[place](sheets[v]);
      elements(view).forEach((element, e) => look(element).forEach((words, part) => {
        const [a, b] = [alone[e][part].split("\n"), words.split("\n")];
        const changed = b.filter((line, i) => line !== a[i]).map((line) => `${line} (not ${a[b.indexOf(line)]})`);
        const name = `${view.className} ${place}: ${element.tagName} .${element.getAttribute("class")}`;
        if (changed.length) found.push(`${name}${["", "::before", "::after"][part]} ${changed.join("; ")}`);
      }));
    }
  });
  return found;
}"""


@pytest.mark.parametrize("theme", ["light", "contrast"])
def test_each_view_looks_beside_the_others_as_it_does_alone(tmp_path, monkeypatch, mount, theme: str) -> None:
    monkeypatch.chdir(tmp_path)
    run = watched.finished(watched.with_steps(watched.run_in(tmp_path), 1, 3, recorded=1))
    record = rollout_record()
    views = [
        RolloutView(record), AuditPanel(record), PosteriorPlot(record), UpdateLedger(record), TrainingMonitor(run),
        RunBrowser(tmp_path, chosen=["watched"]), CheckpointPair("before", "after", pair=two()),
        ForkExplorer(run, by="kind"), Launcher("train", interval_s=10.0),
    ]  # fmt: skip
    mounted = None
    for view in views:
        mounted = mount(view, theme=theme, on=mounted)
    mounted.frame()
    assert mounted.page.evaluate(LOOKS) == []
    for view in views:
        view.close()
