"""The READMEs say what is so: links and paths exist, commands parse, option files and keys are known."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers import REPOSITORY

from ramit_model.cli import build_parser
from ramit_model.commands.launcher import launcher_arguments

FOLDERS = ("ramit_arch", "ramit_model", "options", "datasets_prep", "tests")
READMES = sorted(
    path
    for path in (REPOSITORY / "README.md", *(p for folder in FOLDERS for p in (REPOSITORY / folder).rglob("README.md")))
    if path.is_file()
)
MAX_BYTES = 12_000


def name_of(readme: Path) -> str:
    return str(readme.relative_to(REPOSITORY))


def anchors(text: str) -> set[str]:
    """Anchors that GitHub gives to the headings of a text."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def links(text: str) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"https?:", link)]


def commands(text: str) -> list[list[str]]:
    """Calls of `basicsr` in the shell blocks of a text."""
    calls = []
    for block in re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            calls += [words[i + 1 :] for i, word in enumerate(words) if word == "basicsr"]
    return calls


def test_the_first_readme_is_short() -> None:
    assert (REPOSITORY / "README.md").stat().st_size <= MAX_BYTES


@pytest.mark.parametrize("readme", READMES, ids=name_of)
def test_links_lead_somewhere(readme: Path) -> None:
    for link in links(readme.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = (readme.parent / path).resolve() if path else readme
        assert target.exists(), f"{name_of(readme)}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{name_of(readme)}: {link}"


@pytest.mark.parametrize("readme", READMES, ids=name_of)
def test_paths_exist(readme: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", readme.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for word in re.findall(r"`([^`\n]+)`", prose):
        # From the top of the repository: any path; in a map, files and folders from where the text is.
        if re.match(rf"({'|'.join(FOLDERS)})/[^\s:*]*$", word):
            assert (REPOSITORY / word).exists() or (readme.parent / word).exists(), f"{name_of(readme)}: {word}"
        elif re.fullmatch(r"[\w/]+\.(py|cpp|h|j2)", word):
            found = (readme.parent / word).exists() or list(readme.parent.rglob(f"**/{Path(word).name}"))
            assert found, f"{name_of(readme)}: {word}"


@pytest.mark.parametrize("readme", READMES, ids=name_of)
def test_commands_parse(readme: Path) -> None:
    parser = build_parser()
    for words in commands(readme.read_text(encoding="utf-8")):
        args, rest = parser.parse_known_args(words)
        if rest and getattr(args, "nproc", None):  # arguments of torch's launcher
            assert launcher_arguments(rest, "x2", goes_on=args.auto_resume)
            rest = []
        assert not rest, f"{name_of(readme)}: basicsr {shlex.join(words)}"
        for word in words:
            if word.startswith("options/"):
                assert (REPOSITORY / word).is_file(), f"{name_of(readme)}: {word}"


def test_everything_that_is_linked_is_in_version_control() -> None:
    """A file that git ignores would be missing elsewhere."""
    if not (REPOSITORY / ".git").exists() or shutil.which("git") is None:
        pytest.skip("no checkout, or no git")
    targets = {
        str((readme.parent / link.partition("#")[0]).resolve().relative_to(REPOSITORY))
        for readme in READMES
        for link in links(readme.read_text(encoding="utf-8"))
        if link.partition("#")[0]
    }
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", *sorted(targets)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
