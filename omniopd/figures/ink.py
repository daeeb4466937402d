"""What a figure and its static picture share: the colour of words and axes, and how a number is written."""

INK = "#7a7a7a"  # reads on white and on JupyterLab's dark grey


def number(value: float) -> str:
    """Thousands in groups, a true minus."""
    shown = f"{value:,.0f}" if abs(value) >= 1000 and float(value).is_integer() else f"{value:g}"
    return shown.replace("-", "−")
