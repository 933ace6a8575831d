"""Which files are restored into which: folders, patterns, equal names, links in circles, outputs among inputs."""

import os
from pathlib import Path

import pytest

from ramit_model.inference.batch.jobs import list_jobs
from ramit_model.system.errors import InputError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pictures = ("p/a.png", "p/a.jpg", "p/sub/b.tif", "p/sub/c.gif", "q/a.png", "x.webp")
    for name in (*pictures, "p/.hidden.png", "p/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outputs(*inputs: str, out: str | None = None, kind: str = "same") -> dict[str, str]:
    return {str(job.source): str(job.output) for job in list_jobs(inputs, out, kind)}  # type: ignore[arg-type]


def test_a_file(here: Path) -> None:
    assert outputs("x.webp") == {"x.webp": "restored/x.webp"}
    assert outputs("x.webp", kind="jpg") == {"x.webp": "restored/x.jpg"}
    assert outputs("x.webp", out="y.tif") == {"x.webp": "y.tif"}
    assert outputs("x.webp", out="new/folder") == {"x.webp": "new/folder/x.webp"}


def test_a_folder_keeps_its_structure(here: Path) -> None:
    assert outputs("p", out="o") == {
        "p/a.jpg": "o/a.jpg",
        "p/a.png": "o/a.png",
        "p/sub/b.tif": "o/sub/b.tif",
        "p/sub/c.gif": "o/sub/c.png",
    }


def test_several_folders_get_one_each(here: Path) -> None:
    assert outputs("p", "q", out="o")["q/a.png"] == "o/q/a.png"


def test_equal_stems_keep_their_whole_names(here: Path) -> None:
    assert outputs("p", out="o", kind="png") == {
        "p/a.png": "o/a.png",
        "p/a.jpg": "o/a.jpg.png",
        "p/sub/b.tif": "o/sub/b.png",
        "p/sub/c.gif": "o/sub/c.png",
    }


def test_equal_names_of_several_folders_are_refused(here: Path) -> None:
    with pytest.raises(InputError, match=r"p/a.png and q/a.png: would both become o/a.png"):
        list_jobs(["p/a.png", "q/a.png"], "o")


def test_patterns(here: Path) -> None:
    assert outputs("p/**/*", out="o").keys() == {"p/a.png", "p/a.jpg", "p/sub/b.tif", "p/sub/c.gif"}
    assert outputs("p/*/b*", out="o") == {"p/sub/b.tif": "o/sub/b.tif"}
    assert outputs(f"{here}/p/*.png", out="o") == {f"{here}/p/a.png": "o/a.png"}


def test_names_with_magic_characters_are_names_first(here: Path) -> None:
    (here / "[1].png").touch()
    assert outputs("[1].png") == {"[1].png": "restored/[1].png"}


def test_outputs_are_no_inputs(here: Path) -> None:
    before = outputs("p", out="p/out")
    (here / "p/out").mkdir()
    (here / "p/out/a.png").touch()
    assert outputs("p", out="p/out") == before
    assert outputs("p/**/*.png", out="p/out") == {"p/a.png": "p/out/a.png"}
    (here / "restored").mkdir()
    (here / "restored/z.png").touch()
    assert "restored/z.png" not in outputs(".")


def test_links_in_a_circle(here: Path) -> None:
    (here / "p/sub/up").symlink_to(here / "p", target_is_directory=True)
    (here / "p/gone.png").symlink_to(here / "nowhere")
    assert len(outputs("p", out="o")) == 4


@pytest.mark.parametrize(
    ("inputs", "out", "kind", "part"),
    [
        (["p"], "p", "same", "is the input folder itself"),
        (["p/a.png"], "p", "same", "would be overwritten"),
        (["p/a.png"], "p/a.png", "same", "would be overwritten"),
        (["p/sub"], "o.png", "same", "give a folder"),
        (["x.webp"], "o.png", "jpg", "is no name of a jpg file"),
        (["p"], "x.webp", "same", "give a folder"),
        (["x.webp"], "p/notes.txt", "same", "is not a folder"),
        (["nowhere.png"], "o", "same", "no such file"),
        (["*.tif"], "o", "same", "matches no pictures"),
    ],
)
def test_mistakes(here: Path, inputs: list[str], out: str, kind: str, part: str) -> None:
    with pytest.raises(InputError, match=part):
        list_jobs(inputs, out, kind)  # type: ignore[arg-type]


def test_a_folder_without_pictures(here: Path) -> None:
    (here / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        list_jobs(["empty"], "o")


def test_names_that_are_no_unicode(here: Path) -> None:
    name = os.fsdecode(b"p/\xff\xfe.png")
    Path(name).touch()
    assert outputs("p", out="o")[name] == os.fsdecode(b"o/\xff\xfe.png")


def test_a_dot_does_not_make_a_suffix(here: Path) -> None:
    (here / "Mt. Fuji").touch()
    assert outputs("Mt. Fuji", out="o") == {"Mt. Fuji": "o/Mt. Fuji.png"}


def test_files_that_are_left_out_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("p/a.png", "p/Thumbs.db", "p/sub/README.txt", "p/.hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    left_out: list[str] = []
    assert [job.source.name for job in list_jobs(["p"], "o", left_out=left_out)] == ["a.png"]
    assert sorted(left_out) == ["README.txt", "Thumbs.db"]
