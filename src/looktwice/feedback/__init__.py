"""The paper, an equation a file: gates optimised for one class (Fu et al. 2017)."""

from looktwice.feedback.ascent import Feedback as Feedback
from looktwice.feedback.ascent import Objective as Objective
from looktwice.feedback.ascent import ascend as ascend
from looktwice.feedback.ascent import open_evidence as open_evidence
from looktwice.feedback.class_gradient import ClassGradient as ClassGradient
from looktwice.feedback.class_gradient import class_gradient as class_gradient
from looktwice.feedback.closed_form import closed_form_feedback as closed_form_feedback
from looktwice.feedback.global_feedback import GradientScale as GradientScale
from looktwice.feedback.global_feedback import feedback as feedback
from looktwice.feedback.global_feedback import feedback_from_options as feedback_from_options
from looktwice.feedback.global_feedback import layer_units as layer_units
from looktwice.feedback.open_gates import open_gates as open_gates
from looktwice.feedback.open_gates import probes_for as probes_for
from looktwice.feedback.open_pass import OpenLayers as OpenLayers
from looktwice.feedback.open_pass import OpenPass as OpenPass
from looktwice.feedback.trace_norm import Minor as Minor
from looktwice.feedback.trace_norm import Solver as Solver
from looktwice.feedback.trace_norm import TraceNorm as TraceNorm
from looktwice.feedback.trace_norm import trace_gradient as trace_gradient
