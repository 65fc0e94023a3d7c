"""What reads a program: its source, the names of its things, and whose code a file holds."""

from __future__ import annotations

import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

#: The folders of the runtime's own files, and of the tools'.
RUNTIME, TOOLS = os.path.join(ROOT, "runtime", ""), os.path.join(ROOT, "lwp", "")
