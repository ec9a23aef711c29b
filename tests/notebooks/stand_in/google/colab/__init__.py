"""A stand-in for Google Colab's own package, with what notebooks use of it. There is no page behind it."""

from google.colab import drive, files, output, userdata

__all__ = ["drive", "files", "output", "userdata"]
