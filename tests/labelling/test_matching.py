"""Which annotated image is which labelled one: by name, or by the end of the path."""

import pytest

from looktwice.labelling.matching import AnnotatedNames


def pair(annotated, labelled):
    names = AnnotatedNames(annotated)
    return names.pair([each for each in labelled if names.may_hold(each)])


@pytest.mark.parametrize(
    ("annotated", "labelled"),
    [
        ("tench/a.jpg", "tench/a.jpg"),
        ("a.jpg", "tench/a.jpg"),
        ("tench/a.jpg", "a.jpg"),
        ("n01440764/ILSVRC2012_val_00000010", "tench/ILSVRC2012_val_00000010.JPEG"),
        ("ILSVRC2012_val_00000010.JPEG", "tench/ILSVRC2012_val_00000010.JPEG"),
        ("ILSVRC2012_val_00000010", "tench/ILSVRC2012_val_00000010.JPEG"),
        ("tench/a.jpeg", "shard/a"),
        ("a.JPG", "b/a.jpg"),
        ("img_0.5", "x/img_0.5.png"),
        ("x.y/img_0.5.png", "img_0.5"),
    ],
)
def test_names_of_one_image(annotated, labelled):
    found = pair([annotated], ["other/b.jpg", labelled, "c.png"])
    assert found.pairs == ((annotated, labelled),)
    assert found.ambiguous == found.unmatched == ()


@pytest.mark.parametrize("labelled", ["tench/a.png", "tench/aa.jpg", "tench/a.jpg.jpg", "a.jpg/b.jpg", "A.jpg"])
def test_names_of_two_images(labelled):
    assert pair(["a.jpg"], [labelled]).unmatched == ("a.jpg",)


def test_the_same_name_comes_first():
    found = pair(["a.jpg", "x/a.jpg"], ["a.jpg", "y/a.jpg"])
    assert found.pairs == (("a.jpg", "a.jpg"), ("x/a.jpg", "y/a.jpg"))


def test_an_image_with_its_own_annotation_is_not_given_to_another():
    found = pair(["cat/a.jpg", "dog/a.jpg"], ["cat/a.jpg"])
    assert found.pairs == (("cat/a.jpg", "cat/a.jpg"),)
    assert found.unmatched == ("dog/a.jpg",)


def test_of_several_the_one_with_more_folders_in_common_is_taken():
    found = pair(["all/cat/a.jpg", "all/dog/a.jpg"], ["train/cat/a.jpg", "train/dog/a.jpg"])
    assert found.pairs == (("all/cat/a.jpg", "train/cat/a.jpg"), ("all/dog/a.jpg", "train/dog/a.jpg"))


def test_an_annotation_that_fits_two_images_is_ambiguous():
    found = pair(["a.jpg", "b.jpg"], ["cat/a.jpg", "dog/a.jpg", "dog/b.jpg"])
    assert found.pairs == (("b.jpg", "dog/b.jpg"),)
    assert found.ambiguous == ("a.jpg may be cat/a.jpg or dog/a.jpg",)
    assert found.unmatched == ()


def test_a_name_without_ending_that_fits_two_files_is_ambiguous():
    assert pair(["a"], ["cat/a.jpg", "cat/a.png"]).ambiguous == ("a may be cat/a.jpg or cat/a.png",)
    assert pair(["a.png"], ["cat/a.jpg", "cat/a.png"]).pairs == (("a.png", "cat/a.png"),)


def test_two_annotations_that_fit_one_image_are_ambiguous():
    found = pair(["train/x/a.jpg", "val/x/a.jpg"], ["x/a.jpg"])
    assert found.pairs == found.unmatched == ()
    assert found.ambiguous == ("train/x/a.jpg and others may be x/a.jpg", "val/x/a.jpg and others may be x/a.jpg")


def test_the_nearer_of_two_annotations_has_the_image():
    found = pair(["dog/a.jpg", "cat/a.jpg"], ["all/cat/a.jpg"])
    assert found.pairs == (("cat/a.jpg", "all/cat/a.jpg"),)
    assert found.unmatched == ("dog/a.jpg",)


def test_pairs_do_not_depend_on_the_order():
    annotated, labelled = ["a.jpg", "x/b.jpg", "y/b.jpg", "c"], ["k/a.jpg", "x/b.jpg", "k/b.jpg", "c.png", "d.png"]
    assert pair(annotated, labelled) == pair(annotated[::-1], labelled[::-1])


def test_only_names_that_matter_are_kept():
    names = AnnotatedNames(["n1/a.jpg", "b"])
    assert [each for each in ("a.jpg", "x/a", "b.png", "c/b", "ab.jpg", "c.jpg") if names.may_hold(each)] == [
        "a.jpg",
        "x/a",
        "b.png",
        "c/b",
    ]
