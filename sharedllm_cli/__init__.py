"""Ask questions of long documents on your own machine, through a tree of compressed keys and values."""

__version__ = "0.1.0"

__all__ = ["__version__"]
