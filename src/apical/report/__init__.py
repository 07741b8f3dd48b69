"""The page of all rules: what each would need of a neuron, and what it gives."""

from apical.report._html import page as page
from apical.report._results import RuleResult as RuleResult
from apical.report._results import TaskResults as TaskResults
from apical.report._results import kept_results as kept_results
from apical.report._results import results_of as results_of
