"""Methods with one option changed, to be evaluated beside the methods themselves.

    looktwice evaluate … --methods global_feedback,benchmarks/variants.py:gp_without_lambda

So a run has both, and the difference of the two is paired.
"""

from dataclasses import replace

from looktwice.attention.methods import METHODS, Method
from looktwice.labels import Label


def changed(method: str, title: str, short_name: str, colour: str, **options: object) -> Method:
    """A method with other defaults."""
    row = METHODS[method]
    return replace(row, label=Label(title, short_name, colour), options={**row.options, **options})


gp_without_lambda = changed("global_feedback", "Global feedback, λ = 0", "Global, λ = 0", "#8a6d3b", trace_weight=0.0)
gp_open = changed("global_feedback", "Global feedback, open gates", "Global, open gates", "#5a7d9a", steps=0)
paper_without_lambda = changed(
    "global_feedback_paper",
    "Global feedback, as printed, λ = 0",
    "Global, as printed, λ = 0",
    "#777777",
    trace_weight=0.0,
)
gp_not_carried = changed(
    "global_feedback", "Global feedback, not carried over", "Global, not carried over", "#9a8a5a", propagate=False
)
