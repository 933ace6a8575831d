"""Files of a report: JSON, CSV, Markdown, LaTeX, plots (one also as PDF), strips, and one page with everything."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ramit_model.benchmark.report.long_format import write_csv
from ramit_model.benchmark.report.page import page
from ramit_model.benchmark.report.paper_figure import draw_paper_figures
from ramit_model.benchmark.report.plots import draw_plots
from ramit_model.benchmark.report.renderings import latex_report, markdown_report
from ramit_model.benchmark.results import Results
from ramit_model.system.files import write_atomically, write_text_atomically
from ramit_model.system.text import escaped

PAGE = "report.html"


def write_report(results: Results, strips: Mapping[str, bytes], out: Path) -> None:
    """Write every file of the report, each whole or not at all.

    Args:
        results: Results to report.
        strips: `Strip.file` -> PNG.
        out: Folder of the benchmark.
    """
    papers = draw_paper_figures(results)
    pictures = {f"{path}.svg": (figure.svg, figure.text) for path, figure in papers.items()} | draw_plots(results)
    for strip in results.strips:
        caption = f"{strip.image} of {strip.dataset}: GT with the crop marked, then the crop of GT and of each result"
        pictures[strip.file] = (strips[strip.file], caption)
    # All is rendered first, so that a report is never made of two.
    texts = {
        "results.json": json.dumps(_plain(asdict(results)), indent=1, allow_nan=False),
        "report.md": markdown_report(results),
        "report.tex": latex_report(results),
        PAGE: page(results, pictures),
    }
    files = {name: content for name, (content, _) in pictures.items()}
    files |= {f"{path}.pdf": figure.pdf for path, figure in papers.items()}
    for name, content in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(content, out / name)
    for name, text in texts.items():
        write_text_atomically(text, out / name)
    write_csv(out / "results.csv", results)


def _plain(value: Any) -> Any:
    """Value as JSON data; numbers that are not finite, such as the PSNR of a perfect result, become text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return escaped(value) if isinstance(value, str) else value
