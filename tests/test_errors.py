"""Errors as people see them."""

import pytest

from looktwice.datasets import load_dataset
from looktwice.errors import DatasetError, InputError, MissingExtraError


@pytest.mark.parametrize("kind", [DatasetError, InputError, MissingExtraError])
def test_a_message_is_whole_or_shortened_in_its_middle(kind):
    assert str(kind("a short one; do this")) == "a short one; do this"
    long = str(kind("file: " + "a" * 5000 + "; do this"))
    assert len(long) == 1500
    assert long.startswith("file: aaa")
    assert long.endswith("aaa; do this")


def test_a_long_word_in_a_broken_file_does_not_fill_the_screen(tmp_path):
    (tmp_path / "images.csv").write_text("<a>" * 40_000)
    with pytest.raises(DatasetError, match=r"the header image,label\[,x1,y1,x2,y2\] is needed") as raised:
        load_dataset(tmp_path, "csv")
    assert len(str(raised.value)) == 1500
