"""Terminal text, Markdown and LaTeX: regular, escaped, complete."""

import re
from dataclasses import replace

import pytest
from benchmark_results import example_results

from ramit_model.benchmark.report.renderings import latex_report, markdown_report, terminal_report
from ramit_model.benchmark.report.tables import overview
from ramit_model.benchmark.results import Results


@pytest.fixture
def results() -> Results:
    return example_results()


def test_terminal_report_is_complete_and_fits(results: Results) -> None:
    report = terminal_report(results)
    assert max(map(len, report.splitlines())) <= 120
    assert report.startswith("x2 <lightweight> & co, x2, 2025-01-31")
    assert re.search(r"^RAMiT-slimSR +939\.8 +163\.42 +512\.3 +\*37\.0000 /  0\.9520$", report, re.MULTILINE)
    for title in ("Overview", "Averages on Set5", "PSNR differences on Set5", "Forward pass on cpu", "Machine and"):
        assert f"\n{title}" in report
    assert "of each image" not in report


def test_wide_table_is_cut_between_columns(results: Results) -> None:
    """No column may get lost, and each part says whose rows it has."""
    datasets = [replace(results.datasets[0], name=f"Set{i}") for i in range(9)]
    report = terminal_report(replace(results, datasets=datasets, costs=[]))
    assert max(map(len, report.splitlines())) <= 120
    block = report.split("\nAverages on")[0].split("Overview\n")[1]
    assert [f"Set{i} PSNR / SSIM" in block for i in range(9)] == [True] * 9
    parts = [line for line in block.splitlines() if "PSNR / SSIM" in line]
    assert len(parts) > 1
    assert all(line.startswith("Network ") for line in parts)


def test_markdown_tables_are_regular(results: Results) -> None:
    report = markdown_report(results)
    tables = re.findall(r"(?:^\|.*\n)+", report, re.MULTILINE)
    assert len(tables) == 13
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert re.search(r"^\| RAMiT-slimSR +\|.*\| \*\*37\.0000\*\* / 0\.9520 \|", report, re.MULTILINE)
    assert r"R\&D \<net\>\_x" in report
    assert "McMaster_sigma25" in report
    assert "## Machine and versions" in report
    assert "| torch      | 2.9.0     |" in report


def test_markdown_escapes_what_would_break_a_table(results: Results) -> None:
    first = replace(results.networks[0], name="a|b\n*c*")
    report = markdown_report(replace(results, networks=[first]))
    assert r"| a\|b \*c\* " in report


def test_markdown_ends_with_the_options(results: Results) -> None:
    report = markdown_report(replace(results, options={"name": "x", "note": "```\n````"}))
    fence = re.search(r"\n(`+)yaml\nname: x\n", report)
    assert fence is not None
    assert len(fence[1]) == 5
    assert report.endswith(f"\n{fence[1]}\n")


def latex_tables(report: str) -> list[list[str]]:
    """The lines between `tabular` and its end."""
    return [block.splitlines() for block in re.findall(r"\\begin\{tabular\}(.*?)\\end\{tabular\}", report, re.DOTALL)]


def test_latex_rows_have_all_columns(results: Results) -> None:
    tables = latex_tables(latex_report(results))
    assert len(tables) == 11
    for alignment, top, *rows, bottom in tables:
        assert (top, bottom) == ("\\toprule", "\\bottomrule")
        columns = len(re.fullmatch(r"\{([lr]+)\}", alignment)[1])
        rows.remove("\\midrule")
        assert len(rows) >= 2
        for row in rows:
            assert row.endswith(" \\\\")
            assert len(re.findall(r"(?<!\\)&", row)) == columns - 1


def test_latex_escapes_names_and_sets_numbers(results: Results) -> None:
    report = latex_report(results)
    assert r"R\&D \textless{}net\textgreater{}\_x" in report
    assert r"\textbf{37.0000} / 0.9520" in report
    assert r"95 \% interval" in report
    assert r"McMaster\_sigma25" in report
    assert r"$-$3.1000 to $-$2.9000" in report
    assert "RAMiT-slimSR" in report
    assert not re.search(r"(?<!\\)[_#]", re.sub(r"\\label\{.*\}", "", report))


def test_latex_writes_small_p_as_a_power(results: Results) -> None:
    pair = replace(results.datasets[0].comparisons[0], p=1.23e-7)
    report = latex_report(replace(results, datasets=[replace(results.datasets[0], comparisons=[pair])]))
    assert r"$1.23 \times 10^{-7}$" in report


def test_latex_labels_are_unique_and_long_tables_continue(results: Results) -> None:
    first = results.datasets[0]
    images = [f"img_{i:03}" for i in range(120)]
    found = {name: replace(quality, images={}) for name, quality in first.results.items()}
    long = replace(first, images=images, results=found)
    report = latex_report(replace(results, datasets=[long, replace(long, name="set5")]))
    labels = re.findall(r"\\label\{(.*)\}", report)
    assert len(labels) == len(set(labels))
    assert all(re.fullmatch(r"tab:[a-z0-9-]+", label) for label in labels)
    assert "each image of Set5, continued}" in report
    assert report.count("img\\_119") == 2


def test_what_was_not_there_is_told(results: Results) -> None:
    note = "Set14: no images in datasets/Set14"
    assert overview(replace(results, notes=[note])).notes[-1] == note
    assert note in terminal_report(replace(results, notes=[note]))


def test_reports_of_an_empty_benchmark(results: Results) -> None:
    """Only cost, or only quality, or nothing yet: a report all the same."""
    nothing = replace(results, datasets=[], costs=[], strips=[])
    for report in (terminal_report(nothing), markdown_report(nothing), latex_report(nothing)):
        assert "Overview" in report
        assert "Cost" not in report
