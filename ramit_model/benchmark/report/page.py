"""The report as one HTML page that holds everything it shows and loads nothing."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ramit_model.benchmark.report.renderings import option_text
from ramit_model.benchmark.report.tables import sections
from ramit_model.benchmark.results import Results
from ramit_model.inference.page import data_uri, render

TEMPLATE = Path(__file__).with_name("page.html")
MEDIA_TYPES = {
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}


def page(results: Results, pictures: Mapping[str, tuple[bytes, str]]) -> str:
    """Write the page.

    Args:
        results: Results to report.
        pictures: File name, with `/` between folders -> content and caption, in the order of the page. Strips come
            after plots.

    Returns:
        HTML, with all pictures in it.

    Raises:
        ValueError: The suffix of a picture is not in `MEDIA_TYPES`.
    """
    embedded = {name: (_data_uri(name, content), caption) for name, (content, caption) in pictures.items()}
    strips = {strip.file for strip in results.strips}
    found = sections(results)
    groups = {
        "Plots": [picture for name, picture in embedded.items() if name not in strips],
        "Images side by side": [picture for name, picture in embedded.items() if name in strips],
    }
    values = {
        "results": results,
        "sections": [section for section in found if section.anchor != "machine"],
        "machine": next(section for section in found if section.anchor == "machine"),
        "pictures": {title: group for title, group in groups.items() if group},
        "options": option_text(results),
    }
    return render(TEMPLATE, values)


def _data_uri(name: str, content: bytes) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in MEDIA_TYPES:
        raise ValueError(f"{name}: no picture for a page; use {', '.join(MEDIA_TYPES)}")
    return data_uri(content, MEDIA_TYPES[suffix])
