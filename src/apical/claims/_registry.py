"""All claims by their ids, in the order in which they are listed."""

import importlib

from apical.claims._claim import Claim

_MODULES: tuple[str, ...] = (
    *("predictive_coding.exact", "predictive_coding.cost"),
    *("predictive_coding.parallel", "predictive_coding.streaming"),
    *("predictive_coding.lesion", "predictive_coding.wins"),
    *("predictive_coding.one_sweep", "predictive_coding.fixed_vs_free"),
    *("feedback.fa_matches", "feedback.fa_sparse"),
    *("feedback.sign_enough", "feedback.sign_magnitudes", "feedback.sign_fraction"),
    *("feedback.sign_frozen_top", "feedback.sign_sparse"),
    *("feedback.fa_depth", "feedback.robust_synapses", "feedback.rate_derivative"),
    *("feedback.bn_rates", "predictive_coding.trains"),
    *("predictive_coding.incremental", "predictive_coding.depth"),
    "predictive_coding.nudged",
    *("published.mlp_table", "published.ep_digits"),
    *("published.pepita_digits", "published.ff_digits"),
    *("published.synthetic_equal", "published.forward_gradient"),
    "published.equal_bench",
    *("spiking.eventprop_exact", "spiking.eventprop_yinyang"),
    *("spiking.surrogate_shape", "spiking.lsnn_memory"),
    *("spiking.stdp_digits", "spiking.reward_traces"),
    *("online.eprop_memory", "online.eprop_near_bptt", "online.online_rate"),
    "online.lsnn_learns_to_learn",
    "kernels.path_kernel",
    *("learned.learned_rule", "learned.rule_search", "learned.genomic_bottleneck"),
    *("efficiency.few_examples", "efficiency.spikes_dropout"),
    *("efficiency.evolution_slower", "efficiency.sensitivity"),
    *("efficiency.power_sign", "efficiency.spectrum"),
    *("unsupervised.pc_bayes_net", "unsupervised.pca_chain"),
    *("unsupervised.vae_any_rule", "unsupervised.wake_sleep"),
    *("unsupervised.dreaming", "unsupervised.spn_fast"),
    "unsupervised.gan_any_rule",
)


def _load(module: str) -> Claim:
    return importlib.import_module(f"apical.claims.{module}").CLAIM


CLAIMS: dict[str, Claim] = {
    claim.id: claim for claim in (_load(module) for module in _MODULES)
}
