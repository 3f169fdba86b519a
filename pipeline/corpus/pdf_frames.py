"""What goes between the stage and the process that opens PDF files."""

from __future__ import annotations

import struct

REQUEST = struct.Struct(">IQ")
"""The most pages that are read, and how many bytes of PDF follow."""
FRAME = struct.Struct(">I")
"""How many bytes of JSON follow: a page, or with `end` or `refused` the last frame of a file."""
