"""Which annotated image is which labelled one: by name, or by the end of the path."""

from dataclasses import replace

import pytest

from label_checks import labelled
from looktwice.decoding import Orientation
from looktwice.labelling.matching import AnnotatedNames, FileNames


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


# ---- names that annotation tools and looktwice itself write ---------------------------------------------------------


@pytest.mark.parametrize(
    ("annotated", "labelled"),
    [
        ("data/local-files/?d=photos/a.jpg", "a.jpg"),
        ("data/local-files/?d=photos/G/50%25%20%231.jpg", "G/50% #1.jpg"),
        ("http:/localhost:8080/data/local-files/?d=photos/a.jpg", "a.jpg"),
        ("https:/bucket.example/photos/a.jpg?X-Amz-Date=7&x=b.jpg", "a.jpg"),
        ("50%25%20%231.jpg", "50% #1.jpg"),
        ("C:\\photos\\G\\a.jpg", "G/a.jpg"),
        ("..\\..\\G\\a.jpg", "G/a.jpg"),
        ("b%C3%A4r.jpg", "x/bär.jpg"),
    ],
)
def test_addresses_and_paths_of_windows(annotated, labelled):
    found = pair([annotated], ["other/b.jpg", labelled, "c.png"])
    assert found.pairs == ((annotated, labelled),)
    assert found.copies == frozenset()


@pytest.mark.parametrize("name", ["a%20b.jpg", "we\\ird.jpg", "7ea30258-a.jpg", "x?d=a.jpg"])
def test_a_name_that_looks_like_an_address_is_first_taken_as_it_is(name):
    others = ["a b.jpg", "ird.jpg", "a.jpg"]
    assert pair([name], [*others, name]).pairs == ((name, name),)
    assert pair([name], [*others, f"x/{name}"]).pairs == ((name, f"x/{name}"),)


@pytest.mark.parametrize("annotated", ["images/7ea30258__a.jpg", "data/upload/1/7ea30258-a.jpg", "7ea30258-a.jpg"])
def test_a_copy_with_hex_digits_before_its_name(annotated):
    found = pair([annotated], ["cat/a.jpg", "cat/b.jpg"])
    assert found.pairs == ((annotated, "cat/a.jpg"),)
    assert found.copies == {annotated}


def test_a_copy_that_fits_two_images_is_ambiguous():
    # The folder of a copy says nothing: it is the tool's.
    found = pair(["images/7ea30258__a.jpg"], ["images/a.jpg", "dog/a.jpg"])
    assert found.ambiguous == ("images/7ea30258__a.jpg may be dog/a.jpg or images/a.jpg",)
    both = pair(["images/7ea30258__a.jpg", "images/1ea30258__a.jpg"], ["a.jpg"])
    assert (both.pairs, len(both.ambiguous)) == ((), 2)
    with_name = pair(["a.jpg", "images/1ea30258__a.jpg"], ["a.jpg"])
    assert with_name.pairs == (("a.jpg", "a.jpg"),)
    assert with_name.ambiguous == ("images/1ea30258__a.jpg and others may be a.jpg",)


@pytest.mark.parametrize("annotated", ["7EA30258-a.jpg", "7ea3025-a.jpg", "7ea30258_a.jpg", "zea30258-a.jpg"])
def test_other_prefixes_stay(annotated):
    assert pair([annotated], ["a.jpg"]).unmatched == (annotated,)


def written(annotated, *images):
    names = AnnotatedNames(annotated)
    others = {image.id: names.written(image) for image in images}
    assert all(names.may_hold(image.id, others[image.id]) for image in images)
    return names.pair(others, others)


@pytest.mark.parametrize("annotated", ["images/x/a_jpg.jpg", "x/a_jpg", "a_jpg", "JPEGImages/x/a_jpg.jpg"])
def test_the_name_of_a_file_that_a_form_wrote(annotated):
    image = replace(labelled("x/a.jpg"), name="x/a_jpg")
    assert written([annotated], image).pairs == ((annotated, "x/a.jpg"),)


def test_names_of_written_files_tell_images_with_the_same_stem_apart():
    images = [replace(labelled(f"x/a.{kind}"), name=f"x/a_{kind}") for kind in ("jpg", "png")]
    found = written(["x/a_png", "x/a_jpg"], *images)
    assert found.pairs == (("x/a_jpg", "x/a.jpg"), ("x/a_png", "x/a.png"))


def test_an_upright_copy_may_be_a_png_file():
    turned = labelled("a.webp", orientation=Orientation(6, (80, 100)))
    assert written(["images/a.png"], turned).pairs == (("images/a.png", "a.webp"),)
    assert pair(["images/a.png"], ["a.webp"]).pairs == ()


def test_a_written_name_that_is_also_the_end_of_another_path_is_ambiguous():
    first, second = replace(labelled("a.jpg"), name="a_jpg"), replace(labelled("y/a_jpg.png"), name="y/a_jpg")
    assert written(["a_jpg"], first, second).ambiguous == ("a_jpg may be a.jpg or y/a_jpg.png",)


def test_names_in_a_form_of_the_labels_folder_are_only_those_of_files():
    images = [labelled("a.jpg"), labelled("a.jpg.jpg"), replace(labelled("b.jpg"), name="b_jpg"), labelled("b_jpg.jpg")]
    images[3] = replace(images[3], name="b_jpg-2")
    names = FileNames(["a", "a.jpg", "b_jpg", "gone"])
    kept = {each.id: names.written(each) for each in images if names.may_hold(each.id, names.written(each))}
    found = names.pair(kept, kept)
    assert found.pairs == (("a", "a.jpg"), ("a.jpg", "a.jpg.jpg"), ("b_jpg", "b.jpg"))
    assert found.unmatched == ("gone",)
