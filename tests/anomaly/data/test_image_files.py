"""Which files are images: below a folder, in the layout of MVTec AD, named by a table."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from anomaly.data.image_files import (
    FilesPassedOver,
    ImageFile,
    ImageReject,
    image_set,
    images_below,
    images_of_table,
)
from anomaly.data.options import ReadOptions
from anomaly.errors import BadData, SchemaMismatch


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty folder with something beside it."""
    touched(tmp_path / "beside", "secret.png")
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def touched(folder: Path, *names: str) -> None:
    """Empty files: nothing here reads one."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(files: list[ImageFile]) -> list[str]:
    return [file.name for file in files]


def rejected(root: Path) -> list[tuple[str, str]]:
    """What is left out of a folder, which is the same that is refused if nobody listens."""
    rejects: list[ImageReject] = []
    files = images_below(root, rejects.append)
    assert not {reject.name for reject in rejects} & set(names(files))
    with pytest.raises(BadData) as caught:
        images_below(root)
    assert caught.value.code == rejects[0].code
    return [(reject.name, reject.code) for reject in rejects]


# A folder


def test_images_are_found_by_suffix_at_any_depth_and_sorted_by_name(root: Path) -> None:
    touched(
        root, "b.PNG", "a/z.jpg", "a/b/c.Jpeg", "a.png", "notes.txt", "a/x.gif", "png", "ä ö.png"
    )

    with pytest.warns(FilesPassedOver):
        files = images_below(root)

    assert names(files) == ["a.png", "a/b/c.Jpeg", "a/z.jpg", "b.PNG", "ä ö.png"]
    assert files[1] == ImageFile(root / "a" / "b" / "c.Jpeg", "a/b/c.Jpeg")


def test_hidden_files_and_folders_are_not_looked_at(root: Path) -> None:
    touched(root, "a.png", ".b.png", ".cache/c.png", "__MACOSX/._a.png")

    assert names(images_below(root)) == ["a.png"]


def test_a_name_that_is_not_utf_8_becomes_text_and_is_still_found(root: Path) -> None:
    path = os.fsencode(root) + b"/caf\xe9.png"
    Path(os.fsdecode(path)).write_bytes(b"here")

    (file,) = images_below(root)

    assert file.name == "caf\\xe9.png"
    assert file.path.read_bytes() == b"here"


def test_files_with_another_suffix_are_counted_by_suffix(root: Path) -> None:
    touched(root, "a.png", "b.bmp", "c/d.BMP", "e.bmp", "c/README", "f", ".hidden.tif", "g.\udcff")
    (root / "scans.tif").mkdir()
    (root / "more.webp").symlink_to(root / "c")

    told = r": 6 \(3 \.bmp, 2 without suffix, 1 \.\\xff\)\. Convert"
    for find in (images_below, image_set):
        with pytest.warns(FilesPassedOver, match=told):
            find(root)


def test_of_many_suffixes_the_most_frequent_are_named(root: Path) -> None:
    touched(root, "a.png", *(f"{n}.{n % 9}" for n in range(26)))

    with pytest.warns(FilesPassedOver, match=r": 26 \((3 \.\d, ){6}\.\.\.\)"):
        images_below(root)


def test_a_folder_without_an_image_is_refused(root: Path) -> None:
    touched(root, "a.gif", "b.gif")

    for find in (images_below, image_set):
        with pytest.raises(BadData, match=r"ends in \.png, \.jpg, \.jpeg.* 2 \.gif") as caught:
            find(root)
        assert (caught.value.code, caught.value.file) == ("no_images", root)


def test_a_root_that_is_no_folder_is_no_bad_data(root: Path) -> None:
    touched(root, "a.png")

    with pytest.raises(FileNotFoundError):
        images_below(root / "nowhere")
    with pytest.raises(NotADirectoryError):
        images_below(root / "a.png")


def test_a_folder_that_cannot_be_listed_is_told_of(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched(root, "a.png", "locked/b.png")
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)

    assert rejected(root) == [("locked", "unreadable_folder")]


# What is not opened


def test_links_inside_the_root_are_followed_to_files_only(root: Path) -> None:
    touched(root, "a/x.png")
    (root / "link.png").symlink_to("a/x.png")
    (root / "again").symlink_to("a")
    (root / "a" / "round").symlink_to("..")

    assert names(images_below(root)) == ["a/x.png", "link.png"]


@pytest.mark.parametrize("target", ["../beside/secret.png", "../beside", "/dev", "/etc/passwd"])
def test_a_link_that_leads_outside_is_refused(root: Path, target: str) -> None:
    touched(root, "a.png")
    (root / "link.png").symlink_to(target)

    assert rejected(root) == [("link.png", "outside_root")]


def test_a_root_that_is_itself_a_link_is_what_it_leads_to(root: Path) -> None:
    touched(root, "a.png")
    (root / "link.png").symlink_to("a.png")
    (root.parent / "alias").symlink_to(root)

    assert names(images_below(root.parent / "alias")) == ["a.png", "link.png"]


def test_links_that_lead_nowhere_or_in_a_circle_are_refused(root: Path) -> None:
    touched(root, "a.png")
    (root / "circle.png").symlink_to("circle.png")
    (root / "gone.png").symlink_to("nowhere.png")
    (root / "long.png").symlink_to("a" * 300)

    assert rejected(root) == [
        ("circle.png", "unreadable_file"),
        ("gone.png", "no_such_file"),
        ("long.png", "unreadable_file"),
    ]


@pytest.mark.filterwarnings("ignore::anomaly.data.image_files.FilesPassedOver")
def test_pipes_and_sockets_are_refused_without_being_opened(root: Path) -> None:
    touched(root, "a.png")
    os.mkfifo(root / "pipe.png")
    os.mkfifo(root / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(root / "socket.png"))

        assert rejected(root) == [("pipe.png", "not_a_file"), ("socket.png", "not_a_file")]


# Layouts


def test_the_label_in_a_plain_folder_is_the_first_folder_below_the_root(root: Path) -> None:
    touched(root, "top.png", "cat/a.png", "cat/inner/b.png", "dog/c.png")

    found = image_set(root)

    assert {file.name: file.label for file in found.train} == {
        "cat/a.png": "cat",
        "cat/inner/b.png": "cat",
        "dog/c.png": "dog",
        "top.png": None,
    }
    assert found.test == []


def test_the_layout_of_mvtec_ad_is_known_by_its_training_folder(root: Path) -> None:
    touched(
        root,
        *("train/good/000.png", "train/good/001.png", "license.png"),
        *("test/good/000.png", "test/crack/000.png", "test/crack/001.png", "test/loose.png"),
        *("ground_truth/crack/000_mask.png", "ground_truth/crack/002_mask.png"),
    )

    found = image_set(root)

    assert [(file.name, file.label) for file in found.train] == [
        ("train/good/000.png", "good"),
        ("train/good/001.png", "good"),
    ]
    assert [(file.name, file.label, file.mask) for file in found.test] == [
        ("test/crack/000.png", "crack", root / "ground_truth/crack/000_mask.png"),
        ("test/crack/001.png", "crack", None),
        ("test/good/000.png", "good", None),
        ("test/loose.png", None, None),
    ]


def test_the_layout_of_mvtec_ad_without_training_images_is_refused(root: Path) -> None:
    touched(root, "test/good/000.png")
    (root / "train" / "good").mkdir(parents=True)

    with pytest.raises(BadData, match="holds no image in train/good") as caught:
        image_set(root)
    assert caught.value.code == "no_images"


def test_a_mask_that_leads_outside_is_refused(root: Path) -> None:
    touched(root, "train/good/000.png", "test/crack/000.png", "ground_truth/crack/x.png")
    (root / "ground_truth" / "crack" / "000_mask.png").symlink_to(root.parent / "beside/secret.png")

    with pytest.raises(BadData) as caught:
        image_set(root)
    assert caught.value.code == "outside_root"


# A table


def test_a_table_names_images_labels_groups_and_masks(root: Path) -> None:
    touched(root, "b.png", "in/a.jpg", "in/mask.png", "raw.bin")
    table = root / "images.csv"
    table.write_text(
        "state,file,part,mask,other\n"
        "ok,./b.png,007,,1\n"
        "crack,in/../in/a.jpg,008,in/mask.png,2\n"
        ",raw.bin,,,3\n"
    )

    files = images_of_table(table, "file", label="state", group="part", mask="mask")

    assert files == [
        ImageFile(root / "b.png", "b.png", "ok", "007"),
        ImageFile(root / "in/../in/a.jpg", "in/a.jpg", "crack", "008", root / "in/mask.png"),
        ImageFile(root / "raw.bin", "raw.bin"),
    ]


def test_the_root_of_a_table_may_be_another_folder_and_one_column_may_serve_twice(
    root: Path,
) -> None:
    touched(root, "ok/a.png")
    table = root.parent / "images.tsv"
    table.write_text(f"file\tstate\n{root}/ok/a.png\tok\n")

    files = images_of_table(table, "file", label="state", group="state", root=root)

    assert files == [ImageFile(root / "ok/a.png", "ok/a.png", "ok", "ok")]


def test_a_table_may_be_parquet_and_its_options_are_those_of_any_table(root: Path) -> None:
    touched(root, "a.png", "b.png")
    columns = {"file": ["b.png", "a.png"], "state": [0, 1]}
    parquet.write_table(pa.table(columns), root / "t.parquet")
    (root / "t.csv").write_text("file;state\nb.png;0\na.png;1\n")

    typed = images_of_table(root / "t.parquet", "file", label="state")
    text = images_of_table(
        root / "t.csv", "file", label="state", options=ReadOptions(delimiter=";")
    )

    assert typed == text
    assert [(file.name, file.label) for file in text] == [("b.png", "0"), ("a.png", "1")]


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("", "missing_value"),
        ("gone.png", "no_such_file"),
        ("..", "outside_root"),
        ("../beside/secret.png", "outside_root"),
        ("../beside/gone.png", "outside_root"),
        ("in/../../beside/secret.png", "outside_root"),
        ("/etc/passwd", "outside_root"),
        ("/dev/zero", "outside_root"),
        ("link.png", "outside_root"),
        ("out/secret.png", "outside_root"),
        ("pipe.png", "not_a_file"),
        ("in", "not_a_file"),
        ("circle.png", "unreadable_file"),
        ("a" * 300, "unreadable_file"),
        ("a.png/b.png", "unreadable_file"),
    ],
)
def test_a_cell_at_fault_is_refused_with_its_place(root: Path, cell: str, code: str) -> None:
    touched(root, "a.png", "in/b.png")
    os.mkfifo(root / "pipe.png")
    (root / "link.png").symlink_to("../beside/secret.png")
    (root / "out").symlink_to("../beside")
    (root / "circle.png").symlink_to("circle.png")
    table = root / "t.csv"
    table.write_text(f"n,file\n1,a.png\n2,{cell}\n")
    typed = root / "t.parquet"
    parquet.write_table(pa.table({"file": ["a.png", cell]}), typed)

    with pytest.raises(BadData) as caught:
        images_of_table(table, "file")
    with pytest.raises(BadData) as numbered:
        images_of_table(typed, "file")

    error = caught.value
    assert (error.code, error.file, error.line, error.column) == (code, table, 3, "file")
    assert (numbered.value.code, numbered.value.line, numbered.value.row) == (code, None, 1)


def test_a_mask_at_fault_is_refused_with_its_place(root: Path) -> None:
    touched(root, "a.png")
    (root / "t.csv").write_text("file,mask\na.png,../beside/secret.png\n")

    with pytest.raises(BadData, match=r"line 2, column 'mask': .*secret.png' leads outside"):
        images_of_table(root / "t.csv", "file", mask="mask")


def test_a_column_that_is_not_there_is_refused(root: Path) -> None:
    (root / "t.csv").write_text("file\na.png\n")

    with pytest.raises(SchemaMismatch) as caught:
        images_of_table(root / "t.csv", "path")
    assert caught.value.code == "missing_column"
