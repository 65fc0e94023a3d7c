"""What all pages share that a browser shows: colours for light and dark, and letters, in look.css.

The timeline, the live page, a find of the explorer and the figures each add a stylesheet of their own.
"""

from __future__ import annotations

from pathlib import Path

SHEET = Path(__file__).with_name("look.css")
