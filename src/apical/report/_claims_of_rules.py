"""Which rules each claim is about, by the names of `apical rules`."""

from __future__ import annotations

from collections.abc import Mapping

from apical.claims import Kept, kept_claims

_PREDICTIVE = ("predictive-coding", "predictive-coding-free")
_ONLINE = ("eprop", "eprop-random")

# A claim about none of the named rules, or about backpropagation alone, has ().
RULES_OF_CLAIMS: Mapping[str, tuple[str, ...]] = {
    "pc-exact": ("predictive-coding",),
    "pc-cost": ("predictive-coding",),
    "pc-one-sweep": ("predictive-coding-sweep", "predictive-coding"),
    "pc-fixed-vs-free": _PREDICTIVE,
    "pc-trains": ("predictive-coding",),
    "pc-incremental": ("incremental-predictive-coding",),
    "pc-depth": ("predictive-coding-free",),
    "pc-nudged": ("predictive-coding-nudged",),
    "pc-bayes-net": ("predictive-coding-free",),
    "fa-matches": ("feedback-alignment",),
    "fa-sparse": ("feedback-alignment",),
    "sign-enough": ("sign-concordance",),
    "sign-magnitudes": ("sign-concordance",),
    "sign-fraction": ("sign-concordance", "feedback-alignment"),
    "sign-frozen-top": ("sign-concordance", "feedback-alignment"),
    "sign-sparse": ("sign-concordance", "feedback-alignment"),
    "bn-rates": ("feedback-alignment", "sign-concordance"),
    "mlp-table": (
        *("feedback-alignment", "direct-feedback-alignment"),
        *("direct-random-target-projection", "fixed-weight-target-propagation"),
    ),
    "ep-digits": ("equilibrium-propagation",),
    "pepita-digits": ("pepita",),
    "ff-digits": ("forward-forward",),
    "synthetic-equal": ("synthetic-gradients", "synthetic-gradients-conditioned"),
    "forward-gradient": (
        *("forward-gradient-activities", "feedback-alignment"),
        "direct-feedback-alignment",
    ),
    "eventprop-exact": (),
    "eventprop-yinyang": (),
    "surrogate-shape": (),
    "lsnn-memory": (),
    "lsnn-learns-to-learn": (),
    "stdp-digits": ("stdp",),
    "reward-traces": ("score-function", "three-factor"),
    "eprop-memory": ("eprop",),
    "eprop-near-bptt": _ONLINE,
    "online-rate": ("eprop", "rtrl"),
    "path-kernel": (),
    "learned-rule": (),
    "rule-search": (),
    "genomic-bottleneck": (),
    "few-examples": (),
    "spikes-dropout": (),
    "evolution-slower": ("evolution-strategy",),
    "pca-chain": ("hebbian",),
    "vae-any-rule": (),
    "wake-sleep": (),
    "dreaming": (),
    "spn-fast": _PREDICTIVE,
    "gan-any-rule": (),
    "pc-parallel": _PREDICTIVE,
    "pc-streaming": ("predictive-coding-free",),
    "pc-lesion": ("predictive-coding-free", "feedback-alignment"),
    "pc-wins": ("predictive-coding-free",),
    "fa-depth": ("feedback-alignment", "kolen-pollack", "weight-mirror"),
    "robust-synapses": (
        *("sign-concordance", "feedback-alignment", "kolen-pollack"),
        *("weight-mirror", "direct-feedback-alignment"),
    ),
    "rate-derivative": ("equilibrium-propagation", "generec"),
    "spectrum": (
        *("weight-perturbation", "node-perturbation", "forward-gradient"),
        *("direct-feedback-alignment", "feedback-alignment", "kolen-pollack"),
        "sign-concordance",
    ),
    # About all rules, or about optimisers.
    "sensitivity": (),
    "power-sign": (),
    "equal-bench": (),
}


def claims_of(rule: str) -> dict[str, Kept]:
    """The claims about a rule with their kept verdicts, by id.

    Example:
        >>> list(claims_of("pepita"))
        ['pepita-digits']
    """
    return {
        name: claim
        for name, claim in kept_claims().items()
        if rule in RULES_OF_CLAIMS.get(name, ())
    }
