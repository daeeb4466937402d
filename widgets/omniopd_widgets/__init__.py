"""Views of OmniOPD records for JupyterLab: they show what was written and know no models."""

from omniopd import __version__

__all__ = ["__version__"]
