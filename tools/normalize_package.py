"""Rewrite deployment packages so that equal contents are equal bytes.

Chalice zips files with the time at which they were unpacked and in the order of the file system, so two
builds of the same commit differ, and AWS would see a new version of every function.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can name."""


def normalize(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        contents = {entry.filename: archive.read(entry) for entry in archive.infolist() if not entry.is_dir()}
    rewritten = package.with_suffix(".tmp")
    with zipfile.ZipFile(rewritten, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(contents.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    rewritten.replace(package)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        normalize(Path(name))
