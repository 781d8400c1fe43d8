"""Numbers as reports print them."""


def signed(number: float, digits: int) -> str:
    """A difference: with its sign, a true minus, and no sign at zero.

    >>> signed(-1.26, 1), signed(0.04, 1)
    ('−1.3', '0.0')
    """
    rounded = round(number, digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def per_cent(share: float) -> str:
    """A share in per cent, with one digit.

    >>> per_cent(0.596)
    '59.6'
    """
    return f"{100 * share:.1f}"


def better_arrow(lower_is_better: bool) -> str:
    """The direction in which a number gets better."""
    return "↓" if lower_is_better else "↑"
