"""Options as a user writes them."""

import numpy as np
import pytest
import torch

from looktwice.attention import attend
from looktwice.attention.choice import choose_methods
from looktwice.errors import OptionError
from looktwice.options import check_known, check_options, option_value


@pytest.mark.parametrize(
    ("name", "text", "default", "value"),
    [
        ("steps", "3", 1, 3),
        ("m.blur", "3", 1.0, 3.0),
        ("minor", "drop", "keep", "drop"),
        ("fixed_scale", "False", True, False),
        ("m.fixed_scale", "true", False, True),
        ("layers", "all", "coarse", None),
        ("m.layers", "coarse", None, "coarse"),
        ("layers", "coarsest", "coarse", "coarsest"),
        ("layers", "0,-1", None, [0, -1]),
        ("rank", "none", 1, None),
        ("m.rank", "2", None, 2),
        ("m.size", "None", (3, 3), None),
        ("m.size", "(1, 2)", None, (1, 2)),
        ("m.size", "[0.5]", None, [0.5]),
    ],
)
def test_a_text_becomes_its_options_value(name, text, default, value):
    found = option_value(name, text, default)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "default", "needed"),
    [
        ("blur", "nan", 1.0, "a number"),
        ("steps", "1.5", 1, "a whole number"),
        ("fixed_scale", "yes", True, "true or false"),
        ("layers", "some", None, "all, fine, coarse, coarsest or whole numbers"),
        ("rank", "one", 1, "none or a whole number"),
        ("size", "x y", None, "a Python value"),
        ("size", "os.name", None, "a Python value"),
    ],
)
def test_a_text_that_says_no_value_is_refused(name, text, default, needed):
    with pytest.raises(OptionError, match=f"{name}={text}: {needed}"):
        option_value(f"m.{name}", text, default)


DEFAULTS = {"steps": 10, "blur": 0.1, "propagate": False, "minor": "keep", "layers": None, "rank": None, "size": (3, 3)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", np.int64(3)), ("blur", 1), ("blur", np.float32(0.5)), ("propagate", True), ("minor", "drop"),
        ("layers", "coarse"), ("layers", None), ("layers", (0, -1)), ("layers", range(2)), ("layers", np.arange(2)),
        ("rank", None), ("rank", 2), ("size", None), ("size", "any"),
    ],
)  # fmt: skip
def test_a_value_of_the_defaults_type_is_taken(name, value):
    check_options("mine", {name: value}, DEFAULTS)


@pytest.mark.parametrize(
    ("name", "value", "needed"),
    [
        ("steps", 2.5, "a whole number"), ("steps", "5", "a whole number"), ("steps", True, "a whole number"),
        ("blur", "x", "a number"), ("blur", float("inf"), "a number"), ("blur", None, "a number"),
        ("propagate", "no", "true or false"), ("propagate", 1, "true or false"), ("minor", 3, "a text"),
        ("layers", 0, "all, fine"), ("layers", True, "all, fine"), ("layers", [1.5], "all, fine"),
        ("layers", torch.tensor([0]), "all, fine"), ("rank", 1.5, "none or a whole number"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(name, value, needed):
    with pytest.raises(OptionError, match=f"{name} is .*; {needed}.* is needed; the default is "):
        check_options("mine", {name: value}, DEFAULTS)


def test_options_are_checked_wherever_they_are_given():
    with pytest.raises(OptionError, match="steps is '5'; a whole number is needed; the default is 5"):
        attend(None, None, method="feedback", steps="5")
    with pytest.raises(OptionError, match="propagate is 'no'"):
        choose_methods({"global_feedback": {"propagate": "no"}})


def test_an_unknown_name_is_refused_with_the_nearest():
    check_known("method", "feedback", ["feedback", "gradient"])
    with pytest.raises(OptionError, match=r"unknown method: 'gradeint'; did you mean gradient\?"):
        check_known("method", "gradeint", ["feedback", "gradient"])
    with pytest.raises(OptionError, match="there are feedback, gradient"):
        check_known("method", "xyz", ["feedback", "gradient"])
