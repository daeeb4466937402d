"""One way to write money and time."""

from __future__ import annotations

from omniopd.io.units import dollars, duration


def test_small_sums_keep_two_digits() -> None:
    shown = [dollars(usd) for usd in (1234.5, 2, 0.1, 0.0412, 0.01, 0.00012, 1e-7, 0, None)]
    assert shown == [
        "$1,234.50", "$2.00", "$0.10", "$0.041", "$0.01", "$0.00012", "under $0.0001", "$0", "an unknown price",
    ]  # fmt: skip


def test_durations_in_the_unit_that_reads_best() -> None:
    shown = [duration(seconds) for seconds in (0, 0.03, 0.34, 3, 8.54, 62.4, 218, 600, 7200, 7.2e6)]
    assert shown == ["0 s", "under 0.1 s", "0.34 s", "3 s", "8.5 s", "62 s", "3.6 min", "10 min", "2.0 h", "2,000.0 h"]
