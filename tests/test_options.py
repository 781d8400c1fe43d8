"""Options as a user writes them."""

import pytest

from looktwice.errors import OptionError
from looktwice.options import check_known, option_value


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


def test_an_unknown_name_is_refused_with_the_nearest():
    check_known("method", "feedback", ["feedback", "gradient"])
    with pytest.raises(OptionError, match=r"unknown method: 'gradeint'; did you mean gradient\?"):
        check_known("method", "gradeint", ["feedback", "gradient"])
    with pytest.raises(OptionError, match="there are feedback, gradient"):
        check_known("method", "xyz", ["feedback", "gradient"])
