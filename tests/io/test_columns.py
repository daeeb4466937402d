"""Facts about aligned columns: they fit, what is left out is said, and a text cannot break a line."""

import sys

from omniopd.io.columns import aligned, terminal_width

HEAD = ["run", "state", "message"]
ROWS = [["one", "finished", "a long story"], ["two\n", "failed", "\x1b[31mred"]]


def test_columns_line_up_and_texts_are_shown_and_not_obeyed():
    lines = aligned(HEAD, ROWS, right=("state",))
    assert lines == [
        "run         state  message",
        "one      finished  a long story",
        "two⟨LF⟩    failed  ⟨ESC⟩[31mred",
    ]


def test_lines_fit_by_leaving_out_what_can_be_spared_and_say_so():
    whole = max(map(len, aligned(HEAD, ROWS)))
    for width in range(8, whole + 2):
        lines = aligned(HEAD, ROWS, width=width, dispensable=("message", "state"))
        table = lines[:3]
        assert max(map(len, table)) <= width
        assert ("message" in table[0]) == (width >= whole)
        assert (len(lines) == 4) == (width < whole)
    assert lines[-1] != "(left out, so that lines fit: message)"
    assert aligned(HEAD, ROWS, width=25, dispensable=("message",))[-1] == "(left out, so that lines fit: message)"


def test_a_pipe_gets_every_column():
    assert aligned(HEAD, ROWS, width=None, dispensable=HEAD) == aligned(HEAD, ROWS)


def test_a_notebooks_cell_is_a_hundred_characters_wide(monkeypatch):
    from ipykernel.iostream import OutStream

    assert terminal_width() is None
    monkeypatch.setattr(sys, "stdout", OutStream.__new__(OutStream))  # whose stream goes to a page
    assert terminal_width() == 100
    monkeypatch.undo()
    assert terminal_width() is None
