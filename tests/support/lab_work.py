"""Small work for the tests of the lab."""

import optax

from apical import lab
from apical.lab._registry import RULES
from apical.lab.models import MODELS
from apical.lab.training._setup import Lanes, Start, Work
from apical.lab.training._train import _NOBODY, Run, train
from support.lab_files import tiny

SMALL = {"models": ["mlp"], "seeds": 2, "batch_size": 8, "epochs": 2}


def work(model="mlp", epochs=2, batch_size=8, **keywords):
    """A work on a tiny set; keywords go to it."""
    data = tiny(**keywords)
    return Work(data, model, MODELS[model], optax.adam, 0.01, epochs, batch_size)


def run(rule="feedback-alignment", seeds=(0, 1), **keywords):
    """A run with the work's own step size."""
    given = work(**keywords)
    lanes = Lanes.alike(seeds, given.learning_rate, {})
    return Run(Start(given), RULES[rule], lanes)


def epochs(made, watch=_NOBODY):
    """All that a run measures."""
    return list(train(made, made.begin(), watch))


def compared(**keywords):
    """A comparison on the tiny set, from Python; without figures unless asked for."""
    return lab.compare(**{"data": tiny(), "report": False, **SMALL, **keywords})


def untimed(lines):
    """Lines without what differs between two runs on one machine: the times."""
    return [
        {k: v for k, v in line.items() if not k.startswith("seconds")} for line in lines
    ]
