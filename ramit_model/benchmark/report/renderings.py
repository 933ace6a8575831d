"""The tables of a report as terminal text, GitHub Markdown and LaTeX."""

import json
import re
import textwrap
from collections.abc import Callable
from dataclasses import replace

import yaml
from tabulate import DataRow, Line, TableFormat, tabulate

from ramit_model.benchmark.report.table import MISSING, Cell, Table
from ramit_model.benchmark.report.tables import sections
from ramit_model.benchmark.results import Results

TERMINAL_WIDTH = 120
LATEX_ROWS = 50
"""Rows that fit on a printed page."""


def option_text(results: Results) -> str:
    """Content of the option file as YAML, with the overrides of the command line."""
    plain = json.loads(json.dumps(results.options))  # without tuples and ordered dicts, which YAML would tag
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=TERMINAL_WIDTH)


def terminal_report(results: Results) -> str:
    """All tables but the details, for a terminal; tables wider than 120 columns are shown in parts."""
    title = f"{results.name}, x{results.scale}, {results.finished}"
    parts = [f"{_one_line(title)}\n"]
    for section in sections(results):
        parts += [_terminal_table(table) for table in section.tables if not table.folded]
    return "\n".join(parts)


def _terminal_table(table: Table) -> str:
    shown = _shown(table, escape=_one_line, mark=lambda text: f"*{text}", unmarked=lambda text: f" {text}")
    lines = [shown.title, "=" * len(shown.title)]
    for part in _columns_that_fit(shown, TERMINAL_WIDTH):
        lines += [_tabulate(part, "simple"), ""]
    for note in shown.notes:
        lines += textwrap.wrap(note, TERMINAL_WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).rstrip() + "\n"


def _columns_that_fit(table: Table, width: int) -> list[Table]:
    """Split a table by columns; all parts begin with the columns that name the rows."""
    columns = list(zip(table.headers, *table.rows, strict=True))
    # tabulate gives a header two more than its length.
    widths = [max(len(str(head)) + 2, *(len(str(cell).strip()) for cell in cells)) + 2 for head, *cells in columns]
    keys = list(range(table.keys))
    start = sum(widths[: table.keys]) - 2
    groups: list[list[int]] = [[]]
    used = start
    for i in range(table.keys, len(columns)):
        if groups[-1] and used + widths[i] > width:
            groups.append([])
            used = start
        groups[-1].append(i)
        used += widths[i]
    return [
        replace(
            table,
            headers=[table.headers[i] for i in keys + group],
            rows=[[row[i] for i in keys + group] for row in table.rows],
        )
        for group in groups
    ]


def markdown_report(results: Results) -> str:
    """Whole report as GitHub Markdown, with the content of the option file at the end."""
    options = option_text(results)
    longest = max([2, *(len(run) for run in re.findall("`+", options))])
    fence = "`" * (longest + 1)
    lines = [
        f"# {_escape_markdown(results.name)}",
        f"Scale x{results.scale}, finished {_escape_markdown(results.finished)}.",
    ]
    for section in sections(results):
        lines.append(f"## {section.title}")
        for table in section.tables:
            shown = _shown(table, escape=_escape_markdown, mark=lambda text: f"**{text}**")
            lines += [f"**{shown.title}**"] if table.title != section.title else []
            lines += [_tabulate(shown, "pipe")]
            lines += ["\n".join(f"- {note}" for note in shown.notes)] if shown.notes else []
    lines += ["## Option file", _escape_markdown(results.option_file), f"{fence}yaml\n{options.rstrip()}\n{fence}"]
    return "\n\n".join(lines) + "\n"


def _escape_markdown(text: str) -> str:
    """Escape text for GitHub Markdown; an underscore inside a word needs no escape there."""
    text = re.sub(r"([\\|*<>&`\[\]~$#])", r"\\\1", _one_line(text))
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)


def latex_report(results: Results) -> str:
    r"""Tables for papers, as `table` environments with caption and label; needs `\usepackage{booktabs}`."""
    parts = [
        f"% {_one_line(results.name)}; needs \\usepackage{{booktabs}}\n"
        "% For a table that is too wide, use table* or, of the package graphicx, \\resizebox{\\textwidth}{!}{...}\n"
    ]
    labels: set[str] = set()
    for table in (table for section in sections(results) if section.anchor != "machine" for table in section.tables):
        for i in range(0, len(table.rows), LATEX_ROWS):
            title = f"{table.title}{', continued' if i else ''}"
            label = _unused(f"tab:{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')}", labels)
            parts.append(_latex_table(replace(table, title=title, rows=table.rows[i : i + LATEX_ROWS]), label))
    return "\n".join(parts)


def _latex_table(table: Table, label: str) -> str:
    shown = _shown(table, escape=_escape_latex, mark=lambda text: f"\\textbf{{{text}}}", number=_latex_number)
    lines = [
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{shown.title}}}",
        f"\\label{{{label}}}",
        f"\\begin{{tabular}}{{{''.join(align[0] for align in _alignment(table))}}}",
        "\\toprule",
        _tabulate(shown, LATEX),
        "\\bottomrule",
        "\\end{tabular}",
        *(f"\n\\footnotesize {_latex_powers(note)}" for note in shown.notes),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


LATEX = TableFormat(
    lineabove=None,
    linebelowheader=Line("\\midrule", "", "", ""),
    linebetweenrows=None,
    linebelow=None,
    headerrow=DataRow("", " & ", " \\\\"),
    datarow=DataRow("", " & ", " \\\\"),
    padding=0,
    with_header_hide=None,
)
"""tabulate's own booktabs format would escape the bold type as well."""

LATEX_CHARACTERS = {character: f"\\{character}" for character in "{}$&#_%"} | {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
}


def _escape_latex(text: str) -> str:
    return "".join(LATEX_CHARACTERS.get(character, character) for character in _one_line(text))


def _latex_number(text: str) -> str:
    """Minus signs and powers of ten as printed in papers."""
    if text == MISSING:
        return "--"
    if match := re.fullmatch(r"([\d.]+)e([+-])0*(\d+)", text):
        mantissa, sign, exponent = match.groups()
        return f"${mantissa} \\times 10^{{{sign.strip('+')}{exponent}}}$"
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", text)


def _latex_powers(text: str) -> str:
    return re.sub(r"(\d)\\textasciicircum\{\}(\d+)", r"$\1^{\2}$", text)


def _unused(label: str, labels: set[str]) -> str:
    """Return `label`, with a number appended if it is in `labels`, and add the result to `labels`."""
    number, chosen = 1, label
    while chosen in labels:
        number += 1
        chosen = f"{label}-{number}"
    labels.add(chosen)
    return chosen


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _same(text: str) -> str:
    return text


def _shown(
    table: Table,
    *,
    escape: Callable[[str], str],
    mark: Callable[[str], str],
    unmarked: Callable[[str], str] = _same,
    number: Callable[[str], str] = _same,
) -> Table:
    """Convert all cells of a table to text of an output format.

    Args:
        table: Table to convert.
        escape: Escapes text.
        mark: Marks a value as one of the best.
        unmarked: Formats the other values, to align them with marked ones.
        number: Formats numbers in escaped text.
    """

    def text(cell: Cell, *, names_row: bool) -> str:
        if isinstance(cell, str):
            return escape(cell) if names_row else number(escape(cell))
        if all(value.text == MISSING for value in cell):
            return number(MISSING)
        return " / ".join((mark if value.marked else unmarked)(number(escape(value.text))) for value in cell)

    return replace(
        table,
        title=escape(table.title),
        headers=[escape(header) for header in table.headers],
        rows=[[text(cell, names_row=i < table.keys) for i, cell in enumerate(row)] for row in table.rows],
        notes=[escape(note) for note in table.notes],
    )


def _alignment(table: Table) -> list[str]:
    return ["left" if i < table.keys else "right" for i in range(len(table.headers))]


def _tabulate(table: Table, form: str | TableFormat) -> str:
    return tabulate(
        [list(row) for row in table.rows],
        headers=list(table.headers),
        tablefmt=form,
        colalign=_alignment(table),
        disable_numparse=True,
    )
