"""Claims of the literature as experiments: run one, and read its verdict.

Each claim is one file here, `CLAIM` in it, with its sentence, its source, its work and
the rule by which the numbers become a verdict.
"""

import importlib

from apical.lab.claims._claim import Claim as Claim
from apical.lab.claims._claim import Earlier as Earlier
from apical.lab.claims._claim import Outcome as Outcome
from apical.lab.claims._claim import Published as Published
from apical.lab.claims._decide import Finding as Finding
from apical.lab.claims._decide import Verdict as Verdict
from apical.lab.claims._run import read_outcome as read_outcome
from apical.lab.claims._run import run_claim as run_claim
from apical.lab.claims._show import described as described
from apical.lab.claims._show import in_short as in_short
from apical.lab.claims._show import refusal as refusal
from apical.lab.claims._show import reported as reported
from apical.lab.claims._show import write_report as write_report
from apical.lab.claims._verdict import Effect as Effect

_MODULES: tuple[str, ...] = (
    *("pc_exact", "pc_cost", "pc_one_sweep", "pc_fixed_vs_free"),
    *("fa_matches", "fa_sparse"),
    *("sign_enough", "sign_magnitudes", "sign_fraction"),
    *("sign_frozen_top", "sign_sparse"),
    *("bn_rates", "pc_trains"),
    *("pc_incremental", "pc_depth", "pc_nudged"),
    *("mlp_table", "ep_digits", "pepita_digits", "ff_digits"),
    *("synthetic_equal", "forward_gradient"),
)


def _load(module: str) -> Claim:
    return importlib.import_module(f"{__name__}.{module}").CLAIM


CLAIMS: dict[str, Claim] = {
    claim.id: claim for claim in (_load(module) for module in _MODULES)
}
