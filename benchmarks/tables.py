"""What was measured: as a Markdown table, in a document, and as a chart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from xml.sax.saxutils import escape


@dataclass(frozen=True)
class Table:
    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    measured: str = ""
    """When, on what machine, and by which command."""

    def measured_by(self, measured: str) -> Table:
        return replace(self, measured=measured)

    def to_markdown(self) -> str:
        head = [_line(self.columns), _line(["---"] * len(self.columns))]
        lines = [f"## {self.title}", "", self.note, "", *head, *(_line(row) for row in self.rows), ""]
        return "\n".join([*lines, f"Measured on {self.measured}.", ""] if self.measured else lines)


class Document:
    """A Markdown file whose sections are tables, or text that somebody wrote."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, table: Table) -> None:
        """In place of the section with its title, or at the end."""
        sections = re.split(r"(?m)^(?=## )", self._path.read_text())
        ours = f"{table.to_markdown()}\n"
        title = f"## {table.title}\n"
        if any(section.startswith(title) for section in sections):
            sections = [ours if section.startswith(title) else section for section in sections]
        else:
            sections = [*sections[:-1], f"{sections[-1].rstrip()}\n\n", ours]
        self._path.write_text("".join(sections).rstrip() + "\n")


def milliseconds(seconds: Sequence[float]) -> str:
    """The median, with the digits that carry meaning."""
    value = median(seconds) * 1000
    return f"{value:.0f} ms" if value >= 20 else f"{value:.1f} ms" if value >= 1 else f"{value:.2f} ms"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The median of the ratios run by run: what drifts between runs cancels out."""
    return f"{median(mine / other for mine, other in zip(ours, theirs, strict=True)):.2f}"


def bar_chart(title: str, groups: Sequence[tuple[str, Sequence[tuple[str, float]]]], unit: str) -> str:
    """An SVG of horizontal bars: each group a caption and its (label, value) bars."""
    colours = {"serverless-flags": "#2563eb"}
    longest = max(value for _, bars in groups for _, value in bars)
    parts, y = [_text(16, 24, title, 15, "600")], 50
    for caption, bars in groups:
        parts.append(_text(16, y + 4, caption, 12, "600"))
        y += 12
        for label, value in bars:
            width = 360 * value / longest
            parts.append(_text(236, y + 13, label, 12, anchor="end"))
            parts.append(
                f'<rect x="244" y="{y}" width="{width:.1f}" height="18" rx="2" fill="{colours.get(label, "#94a3b8")}"/>'
            )
            parts.append(_text(250 + width, y + 13, f"{value:.0f} {unit}", 12))
            y += 23
        y += 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {y}" width="700" height="{y}" '
        f'font-family="system-ui, sans-serif"><rect width="700" height="{y}" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )


def _text(x: float, y: float, text: str, size: int, weight: str = "400", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="#0f172a">{escape(text)}</text>'
    )


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
