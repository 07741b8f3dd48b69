"""What the pages of docs/rules show: families, their rules, the claims about them."""

from __future__ import annotations

from typing import NamedTuple


class Setting(NamedTuple):
    """One column of a table: a rule at certain settings.

    Attributes:
      counted: its row in docs/choose-a-rule.md; "": it has none.
      tried: its column in docs/rules-and-models.md; "": it has none.
    """

    counted: str = ""
    tried: str = ""


class Section(NamedTuple):
    """A table of a page.

    Attributes:
      settings: the columns, by the names of `apical rules`.
      claims: the claims about these rules.
    """

    settings: dict[str, Setting]
    claims: tuple[str, ...] = ()


def both(call: str) -> Setting:
    """A setting that has the same name on both pages."""
    return Setting(call, call)


def one(name: str, call: str, *claims: str) -> Section:
    """A section with one setting."""
    return Section({name: both(call)}, claims)


FREE = 'PredictiveCoding(rate=0.1, prediction="free")'
LDRL = "DifferenceTargetPropagation(training=DifferenceReconstruction())"
# By the name of the page, then that of the section.
FAMILIES: dict[str, dict[str, Section]] = {
    "feedback-weights": {
        "FeedbackAlignment": one(
            *("feedback-alignment", "FeedbackAlignment()"),
            *("fa-matches", "fa-sparse", "sign-frozen-top", "mlp-table"),
            *("vae-any-rule", "gan-any-rule", "few-examples"),
        ),
        "SignConcordance": one(
            *("sign-concordance", "SignConcordance()", "sign-enough"),
            *("sign-magnitudes", "sign-fraction", "sign-frozen-top", "sign-sparse"),
            *("vae-any-rule", "gan-any-rule", "few-examples"),
        ),
        "KolenPollack": one(
            *("kolen-pollack", "KolenPollack()"),
            *("vae-any-rule", "gan-any-rule", "few-examples"),
        ),
        "WeightMirror": one("weight-mirror", "WeightMirror()"),
        "DirectFeedbackAlignment": Section(
            {
                "direct-feedback-alignment": both("DirectFeedbackAlignment()"),
                "direct-feedback-alignment-sign": Setting(
                    tried='DirectFeedbackAlignment(error="sign")'
                ),
            },
            ("mlp-table", "vae-any-rule", "few-examples"),
        ),
        "DirectRandomTargetProjection": one(
            *("direct-random-target-projection", "DirectRandomTargetProjection()"),
            "mlp-table",
        ),
    },
    "predictive-coding": {
        "Fixed predictions": Section(
            {
                "predictive-coding": both("PredictiveCoding()"),
                "predictive-coding-sweep": both("PredictiveCoding(inference=Sweep())"),
            },
            ("pc-exact", "pc-cost", "pc-one-sweep", "pc-fixed-vs-free", "pc-trains"),
        ),
        "Free predictions": Section(
            {
                "predictive-coding-free": Setting(
                    'PredictiveCoding(prediction="free")', FREE
                ),
                "predictive-coding-errors": Setting(),
                "zero-divergence": Setting(),
            },
            ("pc-fixed-vs-free", "pc-depth", "pc-bayes-net", "few-examples"),
        ),
        "Precision, nudge and feedback": Section(
            {
                "predictive-coding-nudged": Setting(),
                "coding-with-random-feedback": Setting(),
                "coding-with-learned-feedback": Setting(),
                "coding-with-learned-precision": Setting(),
            },
            ("pc-nudged",),
        ),
        "IncrementalPredictiveCoding": one(
            *("incremental-predictive-coding", "IncrementalPredictiveCoding()"),
            "pc-incremental",
        ),
    },
    "equilibrium": {
        "EquilibriumPropagation": one(
            "equilibrium-propagation",
            "EquilibriumPropagation()",
            "ep-digits",
            "few-examples",
        ),
        "ContrastiveHebbian": one("contrastive-hebbian", "ContrastiveHebbian()"),
        "CoupledLearning": one("coupled-learning", "CoupledLearning()"),
        "GeneRec": one("generec", "GeneRec()"),
        "Recirculation": Section({"recirculation": Setting("Recirculation()")}),
        "DualPropagation": one("dual-propagation", "DualPropagation()", "few-examples"),
        "ActivationRelaxation": one("activation-relaxation", "ActivationRelaxation()"),
    },
    "target-propagation": {
        "TargetPropagation": one("target-propagation", "TargetPropagation()"),
        "DifferenceTargetPropagation": Section(
            {
                "difference-target-propagation": both("DifferenceTargetPropagation()"),
                "difference-reconstruction": Setting(tried=LDRL),
                "fixed-weight-target-propagation": Setting(
                    tried="DifferenceTargetPropagation(training=None)"
                ),
            },
            ("mlp-table", "few-examples"),
        ),
    },
    "synthetic-gradients": {
        "SyntheticGradients": Section(
            {
                "synthetic-gradients": both("SyntheticGradients()"),
                "synthetic-gradients-conditioned": Setting(
                    tried="SyntheticGradients(conditioned=True)"
                ),
            },
            ("synthetic-equal", "few-examples"),
        ),
        "WindowedSyntheticGradients": Section(
            {"windowed-synthetic-gradients": Setting()}
        ),
    },
    "plasticity": {
        "STDP": Section({"stdp": Setting()}, ("stdp-digits", "reward-traces")),
        "ThreeFactor": Section({"three-factor": Setting()}, ("reward-traces",)),
        "Hebbian": one("hebbian", "Hebbian()", "pca-chain"),
        "Plasticity": one("plasticity", "Plasticity()", "learned-rule", "rule-search"),
    },
    "local-objectives": {
        "LocalLosses": Section(
            {
                "local-losses": both("LocalLosses()"),
                "local-losses-similarity": Setting(
                    tried='LocalLosses(objective="similarity")'
                ),
                "local-losses-both": Setting(),
            },
            ("few-examples",),
        ),
        "ForwardForward": one(
            "forward-forward", "ForwardForward()", "ff-digits", "few-examples"
        ),
        "CLAPP": Section({"clapp": Setting("CLAPP()", "CLAPP(positive=shifted)")}),
        "PEPITA": one("pepita", "PEPITA()", "pepita-digits"),
    },
    "perturbation": {
        "WeightPerturbation": one("weight-perturbation", "WeightPerturbation()"),
        "EvolutionStrategy": one(
            "evolution-strategy", "EvolutionStrategy()", "evolution-slower"
        ),
        "ForwardGradient": Section(
            {
                "forward-gradient": both("ForwardGradient()"),
                "forward-gradient-activities": Setting(
                    tried='ForwardGradient("activities")'
                ),
            },
            ("forward-gradient",),
        ),
        "NodePerturbation": one(
            "node-perturbation", "NodePerturbation()", "few-examples"
        ),
    },
    "stochastic-units": {
        "ScoreFunction": Section(
            {"score-function": Setting("ScoreFunction()")},
            ("reward-traces", "wake-sleep"),
        ),
        "StraightThrough": Section(
            {"straight-through": Setting("StraightThrough()")}, ("wake-sleep",)
        ),
        "Concrete": Section({"concrete": Setting("Concrete()")}, ("wake-sleep",)),
    },
    "through-time": {
        "EProp": Section(
            {
                "eprop": both("EProp()"),
                "eprop-random": Setting(tried='EProp("random")'),
                "eprop-adaptive": Setting(),
                "eprop-direct": Setting(),
                "decolle": Setting(),
            },
            ("eprop-memory", "eprop-near-bptt", "online-rate"),
        ),
        "RFLO": one("rflo", "RFLO()"),
        "OTTT": one("ottt", "OTTT()"),
        "EfficientTraces": one("efficient-traces", "EfficientTraces()"),
        "SnAp": one("snap", "SnAp()"),
        "RTRL": Section({"rtrl": Setting("RTRL()")}, ("online-rate",)),
        "UORO": one("uoro", "UORO()"),
    },
}
