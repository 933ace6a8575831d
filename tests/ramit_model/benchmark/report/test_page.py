"""The page: well-formed, complete in one file, harmless names."""

import base64
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import yaml
from benchmark_results import BASELINE, ODD, example_results

from ramit_model.benchmark.report.page import page
from ramit_model.benchmark.report.tables import sections
from ramit_model.benchmark.results import Results

VOID = {"meta", "img", "br", "hr", "link", "input"}
PNG, SVG = b"\x89PNG\r\n\x1a\n", b'<svg xmlns="http://www.w3.org/2000/svg"/>'
PICTURES = {
    "strips/Set5_butterfly.png": (PNG, f'butterfly "of" Set5: {ODD}'),
    "plots/psnr_over_mult_adds.svg": (SVG, "PSNR over Mult-Adds"),
}


class Reader(HTMLParser):
    """Collects tags, attributes, tables and text; fails where tags do not close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.tables: list[list[list[str]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag][-1] += data
        if {"th", "td"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def values(self, attribute: str, tag: str | None = None) -> list[str | None]:
        return [found[attribute] for name, found in self.attributes if attribute in found and tag in (None, name)]


@pytest.fixture
def results() -> Results:
    return example_results()


@pytest.fixture
def reader(results: Results) -> Reader:
    return Reader(page(results, PICTURES))


def test_page_is_well_formed(reader: Reader) -> None:
    assert reader.open == []
    assert reader.tags["h1"] == 1
    assert reader.values("lang", "html") == ["en"]
    assert any("width=device-width" in value for value in reader.values("content", "meta"))
    assert reader.tags["caption"] == reader.tags["table"] > 0
    assert len(reader.values("scope", "th")) == reader.tags["th"]
    ids = reader.values("id")
    assert len(ids) == len(set(ids))
    for table in reader.tables:
        assert len({len(row) for row in table}) == 1


def test_page_loads_nothing(results: Results) -> None:
    html = page(results, PICTURES)
    reader = Reader(html)
    assert all(value.startswith("data:") for value in reader.values("src"))
    links = reader.values("href")
    assert all(value.startswith("#") for value in links)
    assert {value[1:] for value in links} == set(reader.values("id"))
    assert not reader.tags.keys() & {"script", "link", "iframe", "object"}
    assert not re.search(r"url\(|@import", html)


def test_page_shows_every_table(results: Results, reader: Reader) -> None:
    tables = [table for section in sections(results) for table in section.tables]
    assert sorted(reader.texts["caption"]) == sorted(table.title for table in tables)
    assert [len(table) for table in reader.tables] == [len(table.rows) + 1 for table in tables]
    first = reader.tables[0]
    assert first[2][:2] == [BASELINE, "939.8"]
    assert "37.0000 / 0.9520" in first[2]
    assert first[4][5] == "-"
    assert "37.0000" in reader.texts["strong"]
    folded = [table.title for table in tables if table.folded]
    assert [text.strip() for text in reader.texts["summary"]][:-1] == folded


def test_page_escapes_names(results: Results) -> None:
    html = page(results, PICTURES)
    assert "R&amp;D &lt;net&gt;_x" in html
    for raw in (ODD, "<net>", "<lightweight>", "<b>"):
        assert raw not in html
    assert Reader(html).texts["h1"] == ["x2 <lightweight> & co"]


def test_page_embeds_pictures_with_captions(reader: Reader) -> None:
    """Plots come first, whatever order they were given in."""
    sources = [value.split(",") for value in reader.values("src", "img")]
    assert [head for head, _ in sources] == ["data:image/svg+xml;base64", "data:image/png;base64"]
    assert [base64.b64decode(content) for _, content in sources] == [SVG, PNG]
    captions = ["PSNR over Mult-Adds", f'butterfly "of" Set5: {ODD}']
    assert reader.values("alt", "img") == captions
    assert reader.texts["figcaption"] == captions
    assert reader.texts["h3"] == ["Plots", "Images side by side"]


def test_page_holds_the_options(results: Results, reader: Reader) -> None:
    assert yaml.safe_load(reader.texts["pre"][0]) == results.options


def test_baseline_is_shaded_in_tables_of_networks(reader: Reader) -> None:
    shaded = [found for tag, found in reader.attributes if tag == "tr" and found.get("class") == "baseline"]
    rows = [row for table in reader.tables for row in table if table[0][0] == "Network" and row[0] == BASELINE]
    assert len(shaded) == len(rows) > 0


def test_page_without_pictures_and_measurements(results: Results) -> None:
    reader = Reader(page(replace(results, datasets=[], costs=[], strips=[]), {}))
    assert reader.open == []
    assert "pictures" not in reader.values("id")
    assert {value[1:] for value in reader.values("href")} == set(reader.values("id"))


def test_unknown_picture_is_an_error(results: Results) -> None:
    with pytest.raises(ValueError, match=r"plots/a\.pdf"):
        page(results, {"plots/a.pdf": (b"", "")})
