"""How money, time and what is nearly nothing are written, everywhere."""

import math


def dollars(usd: float | None) -> str:
    """$1,234.50; below ten cents the two digits that count. None, and what is not finite: nobody knows the price."""
    if usd is None or not math.isfinite(usd):
        return "an unknown price"
    sign, size = "-" if usd < 0 else "", abs(usd)
    if size == 0:
        return "$0"
    if size < 0.0001:
        return "under $0.0001"
    return f"{sign}${size:,.2f}" if size >= 0.0995 else f"{sign}${size:.2g}"


def duration(seconds: float) -> str:
    """3.4 s, 62 s, 3.6 min, 12 min, 2.5 h: the unit that reads best."""
    if not math.isfinite(seconds):
        return "an unknown time"
    if seconds < 9.95:
        return "under 0.1 s" if 0 < seconds < 0.1 else f"{max(0.0, seconds):.2g} s"
    if seconds < 89.5:
        return f"{seconds:.0f} s"
    if seconds < 597:
        return f"{seconds / 60:.2g} min"
    return f"{seconds / 60:.0f} min" if seconds < 5370 else f"{seconds / 3600:,.1f} h"


def not_zero(value: float, digits: int = 4) -> str:
    """With `digits` decimals, and more where a value that is not 0 would read so: 0.0123, 0.00003, 2e-11."""
    if not math.isfinite(value) or value == 0:
        return f"{value:.{digits}f}"
    first = math.ceil(-math.log10(abs(value)))  # the place of its first figure
    return f"{value:.{max(digits, first)}f}" if first <= 8 else f"{value:.0e}".replace("e-0", "e-")
