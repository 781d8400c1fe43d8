"""The layout ``webdataset``."""

import io
import json
import pickle
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from looktwice.datasets import find_layout, known_classes, load_dataset
from looktwice.errors import DatasetError, InputError

KNOWN = known_classes(["cat", "dog", "crane", "crane"])


def tar(path, members, *, form=tarfile.PAX_FORMAT):
    """A tar file of (name, content) in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as file:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def read(root, known=KNOWN, **choices):
    return load_dataset(root, "webdataset", unlabelled=True, known=known, **choices)


def found(data):
    return {sample.id: (sample.labels, sample.content.read()) for sample in data.samples}


MEMBERS = [
    ("a/0.jpg", b"zero"),
    ("a/0.cls", b"1\n"),
    ("a/0.txt", b"a caption that is no label"),
    ("1.png", b"one"),
    ("1.json", b'{"label": "Cat", "url": "x"}'),
    ("2.input.WEBP", b"two"),
    ("2.seg.npy", b"no image"),
    ("3.jpeg", b"three"),
    ("3.seg.png", b"a mask"),
    ("3.json", b'{"cls": [0, "dog"]}'),
    ("readme", b"x"),
    ("._3.jpeg", b"of macOS"),
]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_members_with_one_name_are_one_sample(tmp_path, form):
    data = read(tar(tmp_path / "x.tar", MEMBERS, form=form), strict=True)
    assert found(data) == {
        "a/0.jpg": ((1,), b"zero"),
        "1.png": ((0,), b"one"),
        "2.input.webp": ((), b"two"),
        "3.jpeg": ((0, 1), b"three"),
    }
    assert data.samples[0].image == tmp_path / "x.tar/a/0.jpg"
    assert data.samples[3].boxes == ((), ())


def test_a_long_name_and_a_name_that_is_not_ascii(tmp_path):
    name = f"{'x' * 150}/é.jpg"
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        data = read(tar(tmp_path / "x.tar", [(name, b"1")], form=form), strict=True)
        assert found(data) == {name: ((), b"1")}


def test_members_that_are_apart_still_belong_together(tmp_path):
    data = read(tar(tmp_path / "x.tar", [("0.jpg", b"0"), ("1.jpg", b"1"), ("0.cls", b"0"), ("1.cls", b"1")]))
    assert [sample.labels for sample in data.samples] == [(0,), (1,)]


def test_a_folder_of_tar_files(tmp_path):
    for name in ("train-0", "train-1", "val-0"):
        tar(tmp_path / f"{name}.tar", [("0.jpg", name.encode()), ("0.cls", b"1")])
    assert found(read(tmp_path, strict=True)) == {
        f"{name}/0.jpg": ((1,), name.encode()) for name in ("train-0", "train-1", "val-0")
    }
    assert [sample.id for sample in read(tmp_path, split="val").samples] == ["val-0/0.jpg"]
    tar(tmp_path / "test/x.tar", [("0.jpg", b"0")])
    assert [sample.id for sample in read(tmp_path, split="test").samples] == ["test/x/0.jpg"]


@pytest.mark.parametrize(
    ("pattern", "ids"),
    [
        ("train-{00..01}.tar", ["train-00/0.jpg", "train-01/0.jpg"]),
        ("{train,val}-00.tar", ["train-00/0.jpg", "val-00/0.jpg"]),
        ("train-*.tar", ["train-00/0.jpg", "train-01/0.jpg"]),
        ("{train-01,val-0?}.tar", ["train-01/0.jpg", "val-00/0.jpg"]),
    ],
)
def test_a_pattern_of_tar_files(tmp_path, pattern, ids):
    for name in ("train-00", "train-01", "val-00"):
        tar(tmp_path / f"{name}.tar", [("0.jpg", b"0")])
    data = read(tmp_path / pattern, strict=True)
    assert [sample.id for sample in data.samples] == ids
    assert data.source.root == str(tmp_path / pattern)
    assert find_layout(tmp_path / pattern, KNOWN) == "webdataset"


def test_a_tar_file_that_a_pattern_names_and_that_is_missing(tmp_path):
    tar(tmp_path / "t-1.tar", [("0.jpg", b"0")])
    assert read(tmp_path / "t-{0..2}.tar").problems == (
        "t-0.tar: the tar file is missing; left out",
        "t-2.tar: the tar file is missing; left out",
    )
    for pattern in ("u-{0..2}.tar", "u-*.tar"):
        with pytest.raises(DatasetError, match=r"does not exist; check the pattern|holds no \.tar file"):
            read(tmp_path / pattern)
    with pytest.raises(DatasetError, match="more than 100000 files"):
        read(tmp_path / "u-{0..999999}.tar")


def test_labels_without_known_classes_are_indices(tmp_path):
    path = tar(
        tmp_path / "x.tar", [("0.jpg", b"0"), ("0.cls", b"7"), ("1.jpg", b"1"), ("1.cls", b"cat"), ("2.jpg", b"")]
    )
    data = load_dataset(path, "webdataset")
    assert [(sample.id, sample.labels) for sample in data.samples] == [("0.jpg", (7,))]
    assert [line.partition(": ")[2][:20] for line in data.problems] == ["1.jpg: unknown class", "2.jpg has no object;"]


def test_a_class_that_the_network_lacks_and_one_that_is_ambiguous(tmp_path):
    members = [
        ("0.jpg", b"0"),
        ("0.cls", b"gnu"),
        ("1.jpg", b"1"),
        ("1.cls", b"crane"),
        ("2.jpg", b"2"),
        ("2.cls", b"9"),
    ]
    data = read(tar(tmp_path / "x.tar", [*members, ("3.jpg", b"3")]))
    assert [sample.id for sample in data.samples] == ["3.jpg"]
    for line, part in zip(data.problems, ("unknown class 'gnu'", "the classes 2, 3", "unknown class '9'"), strict=True):
        assert part in line


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("0.json", b"{"),
        ("0.json", b'{"label": true}'),
        ("0.json", b'{"label": {"x": 1}}'),
        ("0.json", b'{"label": 1.5}'),
        ("0.json", b"[" * 100_000),
        ("0.cls", b"\xff\xfe"),
        ("0.cls", b"1" * 1_000_001),
    ],
)
def test_a_label_that_cannot_be_read_costs_its_image(tmp_path, name, content):
    data = read(tar(tmp_path / "x.tar", [("0.jpg", b"0"), (name, content), ("1.jpg", b"1")]))
    assert [sample.id for sample in data.samples] == ["1.jpg"]
    assert f"{name}: no label can be read" in data.problems[0]


@pytest.mark.parametrize("content", [b"{}", b"[1, 2]", b'{"label": null}', b'{"label": ""}', b'{"label": []}', b"7"])
def test_json_without_a_label(tmp_path, content):
    data = read(tar(tmp_path / "x.tar", [("0.jpg", b"0"), ("0.json", content)]), strict=True)
    assert found(data) == {"0.jpg": ((), b"0")}


def test_a_sample_with_several_images_or_none(tmp_path):
    members = [("0.jpg", b"0"), ("0.png", b"0"), ("1.a.png", b"1"), ("1.b.png", b"1"), ("2.cls", b"1"), ("3.jpg", b"3")]
    data = read(tar(tmp_path / "x.tar", members))
    assert [sample.id for sample in data.samples] == ["3.jpg"]
    assert data.problems == (
        "x.tar: 0 has 2 images (jpg, png), but one is needed; left out",
        "x.tar: 1 has 2 images (a.png, b.png), but one is needed; left out",
        "x.tar: 2 has a label but no image; left out",
    )


def test_a_member_that_is_there_twice(tmp_path):
    data = read(tar(tmp_path / "x.tar", [("0.jpg", b"first"), ("./0.jpg", b"second")]))
    assert found(data) == {"0.jpg": ((), b"first")}
    assert data.problems == ("x.tar: ./0.jpg is there twice; the first is kept",)


@pytest.mark.parametrize("name", ["../0.jpg", "/etc/0.jpg", "a/../../0.jpg"])
def test_a_member_that_leads_out(tmp_path, name):
    data = read(tar(tmp_path / "x.tar", [(name, b"0"), ("1.jpg", b"1")]))
    assert list(found(data)) == ["1.jpg"]
    assert "leads out" in data.problems[0]


def test_links_folders_and_files_with_holes_are_left_out(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as file:
        for name, kind in (("0.jpg", tarfile.SYMTYPE), ("1.jpg", tarfile.LNKTYPE), ("2.jpg", tarfile.DIRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            file.addfile(member)
        hole = tarfile.TarInfo("3.jpg")
        hole.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "4096"}
        hole.size = 512
        file.addfile(hole, io.BytesIO(b"1\n0\n0\n".ljust(512, b"\0")))
        file.addfile(tarfile.TarInfo("4.jpg"))
    assert list(found(read(path, strict=True))) == ["4.jpg"]


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])
    return path


def test_a_tar_file_that_is_cut_short(tmp_path):
    members = [(f"{n}.jpg", b"x" * 700) for n in range(3)]  # each has a header and two blocks: 1,536 bytes
    whole = tar(tmp_path / "x.tar", members).read_bytes()
    for size, kept, part in [
        (0, 0, "empty file"),
        (300, 0, "truncated header"),
        (600, 0, "cut short in 0.jpg"),
        (1536, 1, "no end mark"),
        (1536 + 300, 1, "no end mark"),
        (1536 + 512 + 700, 2, "cut short"),
    ]:
        (tmp_path / "x.tar").write_bytes(whole[:size])
        tar(tmp_path / "y.tar", [("9.jpg", b"9")])
        data = read(tmp_path)
        assert len(data.samples) == kept + 1, size
        assert len(data.problems) == 1, size
        assert part in data.problems[0], (size, data.problems)


def test_a_damaged_header_in_the_middle(tmp_path):
    path = tar(tmp_path / "x.tar", [(f"{n}.jpg", b"x") for n in range(3)])
    content = bytearray(path.read_bytes())
    content[1024 + 20] ^= 1
    path.write_bytes(content)
    data = read(path)
    assert list(found(data)) == ["0.jpg"]
    assert data.problems == ("x.tar: the tar file is damaged at byte 1024; what follows is left out",)


def test_two_tar_files_in_one(tmp_path):
    one, two = (tar(tmp_path / f"{n}.tar", [(f"{n}.jpg", b"x")]) for n in "ab")
    one.write_bytes(one.read_bytes() + two.read_bytes())
    data = read(one)
    assert list(found(data)) == ["a.jpg"]
    assert "another tar file follows" in data.problems[0]


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tgz", "x.tar"])
def test_a_compressed_tar_file_is_refused_with_the_remedy(tmp_path, name):
    with tarfile.open(tmp_path / name, "w:gz") as file:
        file.addfile(tarfile.TarInfo("0.jpg"))
    for root in (tmp_path, tmp_path / name):
        assert find_layout(root, KNOWN) == "webdataset"
        with pytest.raises(DatasetError, match=r"is compressed \(gzip\).*decompress it"):
            read(root)


def test_a_file_that_is_no_tar_file(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"hello" * 1000)
    with pytest.raises(DatasetError, match="damaged or cut short"):
        read(tmp_path / "x.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"holds no \.tar file"):
        read(tmp_path / "empty")
    with pytest.raises(DatasetError, match="takes no split"):
        read(tmp_path / "x.tar", split="val")


def test_a_tar_file_that_is_replaced_after_it_was_listed(tmp_path):
    path = tar(tmp_path / "x.tar", [("0.jpg", b"old")])
    (sample,) = read(path).samples
    tar(path, [("1.jpg", b"new")])
    with pytest.raises(InputError, match=r"x\.tar: was changed after"):
        sample.content.read()
    cut(path, 100)
    with pytest.raises(InputError, match="was changed after"):
        sample.content.read()
    path.unlink()
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        sample.content.read()


def test_other_processes_can_read_a_member(tmp_path):
    (sample,) = read(tar(tmp_path / "x.tar", [("0.jpg", b"0")])).samples
    again = pickle.loads(pickle.dumps(sample))
    assert again == sample
    assert again.content.read() == b"0"


def test_images_are_not_read_when_they_are_listed(tmp_path):
    path = tar(tmp_path / "x.tar", [(f"{n}.jpg", bytes(200_000)) for n in range(50)])
    read(path)
    peaks = []
    for _ in range(2):  # a table of the interpreter's own may grow by megabytes in one run, but not in both
        tracemalloc.start()
        read(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert min(peaks) < 1_000_000  # the file holds 10 MB


def test_tar_files_are_found(tmp_path):
    path = tar(tmp_path / "x.tar", [("0.jpg", b"0")])
    assert find_layout(tmp_path, KNOWN) == find_layout(path, KNOWN) == "webdataset"
    (tmp_path / "y.jpg").touch()
    with pytest.raises(DatasetError, match=r"webdataset \(WebDataset tar files\) and pictures"):
        find_layout(tmp_path, KNOWN)


def test_what_the_package_webdataset_writes_is_read(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(tmp_path / "x.tar")) as sink:
        for n in range(3):
            sink.write({"__key__": f"s/{n}", "jpg": b"image %d" % n, "cls": n % 2, "json": {"label": "crane"}})
    assert found(read(tmp_path / "x.tar", strict=True)) == {f"s/{n}.jpg": ((n % 2,), b"image %d" % n) for n in range(3)}


def test_labels_in_a_classes_file(tmp_path):
    path = tar(tmp_path / "x.tar", [("0.jpg", b"0"), ("0.cls", b"hound")])
    classes = Path(tmp_path / "c.json")
    classes.write_text(json.dumps({"hound": 1}))
    assert read(path, classes=classes).samples[0].labels == (1,)


def test_whole_numbers_are_indices_where_names_are_digits(tmp_path):
    members = [("0.jpg", b"0"), ("0.cls", b"2"), ("1.jpg", b"1"), ("1.json", b'{"label": [2, "10"]}')]
    members += [("2.jpg", b"2"), ("2.json", b'{"label": "2"}')]
    data = read(tar(tmp_path / "x.tar", members), known=known_classes(("0", "1", "10", "11", "2", "3")))
    assert [sample.labels for sample in data.samples] == [(2,), (2,), (4,)]
