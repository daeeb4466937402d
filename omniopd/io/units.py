"""How money and time are written, everywhere."""


def dollars(usd: float | None) -> str:
    """$1,234.50; below ten cents the two digits that count. None: nobody knows the price."""
    if usd is None:
        return "an unknown price"
    if usd == 0:
        return "$0"
    if abs(usd) < 0.0001:
        return "under $0.0001"
    return f"${usd:,.2f}" if abs(usd) >= 0.1 else f"${usd:.2g}"


def duration(seconds: float) -> str:
    """3.4 s, 62 s, 3.6 min, 12 min, 2.5 h: the unit that reads best."""
    if seconds < 10:
        return "under 0.1 s" if 0 < seconds < 0.1 else f"{seconds:.2g} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 600:
        return f"{seconds / 60:.2g} min"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"
