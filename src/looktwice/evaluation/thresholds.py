"""The thresholds at which a run's maps are judged: given, or chosen on other images."""

from dataclasses import replace
from pathlib import Path

from looktwice.errors import RunError
from looktwice.evaluation.plan import EvaluationPlan
from looktwice.metrics.judged_maps import Thresholds
from looktwice.runs.folder import differences, read_manifest, read_rows, read_summary
from looktwice.runs.json_forms import to_json
from looktwice.runs.manifest import RunFacts
from looktwice.runs.scoring import Scoring
from looktwice.runs.summarise import choose_thresholds


def run_thresholds(plan: EvaluationPlan, facts: RunFacts, samples: set[str]) -> dict[str, Thresholds] | None:
    """The thresholds of each method and baseline.

    Args:
        plan: the plan.
        facts: those of the run.
        samples: the names of the run's images.

    Returns:
        ``None`` if they are chosen on images of this run, which have no rows yet.

    Raises:
        RunError: the run that ``tune_on`` names is not finished, is of something else, or has some of the same images.
    """
    if plan.tuning_share is not None and plan.grid is None:
        return None
    if plan.tune_on is None or plan.grid is not None:
        return dict.fromkeys(facts.names, Thresholds.given(plan.rule))
    return _chosen_elsewhere(Path(plan.tune_on), plan, facts, samples)


def _chosen_elsewhere(run: Path, plan: EvaluationPlan, facts: RunFacts, samples: set[str]) -> dict[str, Thresholds]:
    """Thresholds chosen on a finished run with the same network and methods and other images."""
    manifest = read_manifest(run)
    read_summary(run)
    there = manifest.run
    matter = ("model", "preprocessing", "methods", "baselines", "target")
    theirs, ours = ({key: to_json(getattr(each, key)) for key in matter} for each in (there, facts))
    found = differences(theirs, ours)
    if found:
        raise RunError(f"{run} is of something else, so its thresholds do not carry over: {'; '.join(found)}")
    if plan.rule.by == "energy" and there.box.by != "energy":
        raise RunError(f"{run} kept no curves by energy; evaluate it with --threshold-by energy too")
    scoring = replace(Scoring.of_manifest(manifest), rule=plan.rule, boxes=plan.boxes)
    rows = read_rows(run, there.parts, scoring.columns)
    shared = samples & set(rows["sample"].to_pylist())
    if shared:
        raise RunError(
            f"{len(shared)} images of this run are in {run} too ({min(shared)}); thresholds must be chosen on others"
        )
    return choose_thresholds(rows, scoring)
