"""Run by mkdocs-gen-files: writes the pages that follow from the code while the site is built."""

from __future__ import annotations

import sys
from pathlib import Path

import mkdocs_gen_files

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

from cl_suite import registry  # noqa: E402
from site_writer import api, arrows, entries, measured, speed  # noqa: E402


def write(path: str, text: str) -> None:
    """Add a page to the site."""
    with mkdocs_gen_files.open(path, "w") as file:
        file.write(text)


for kind, folder in entries.FOLDERS.items():
    write(f"{folder}/index.md", entries.index(kind))
    write(f"{folder}/SUMMARY.md", entries.summary(kind))
    for name in registry.entries(kind):
        write(f"{folder}/{name}.md", entries.page(kind, name))
for name, text in api.pages():
    write(f"api/{name}.md", text)
write("api/SUMMARY.md", api.summary())
write("results.md", measured.page())
written = (DOCS / "speed.md").read_text("utf-8")
write("speed.md", written.replace("<!-- figures -->", speed.tables()))
architecture = (DOCS / "architecture.md").read_text("utf-8")
write("architecture.md", architecture.replace("<!-- arrows -->", arrows.table(arrows.arrows())))
