"""Small training runs and comparisons for the tests of the lab."""

import optax

from apical import lab
from apical.lab._registry import RULES
from apical.lab.models import MODELS
from apical.lab.training._setup import TrainConfig, TrainSetup, VmappedRuns
from apical.lab.training._train import NO_CALLBACKS, Trainer, train
from support.lab_files import tiny

SMALL = {"models": ["mlp"], "seeds": 2, "batch_size": 8, "epochs": 2}


def train_config(model="mlp", epochs=2, batch_size=8, **keywords):
    """A configuration on a tiny data set; keywords are those of the data."""
    data = tiny(**keywords)
    return TrainConfig(data, model, MODELS[model], optax.adam, 0.01, epochs, batch_size)


def trainer(rule="feedback-alignment", seeds=(0, 1), **keywords):
    """A trainer of this rule at the step size of the configuration."""
    config = train_config(**keywords)
    runs = VmappedRuns.with_seeds(seeds, config.learning_rate, {})
    return Trainer(TrainSetup(config), RULES[rule], runs)


def epochs(made, callbacks=NO_CALLBACKS):
    """All measurements of a training run."""
    return list(train(made, made.begin(), callbacks))


def compared(**keywords):
    """A comparison on the tiny set, from Python; without figures unless asked for."""
    return lab.compare(**{"data": tiny(), "report": False, **SMALL, **keywords})


def untimed(lines):
    """Lines without times, which differ from run to run."""
    return [
        {k: v for k, v in line.items() if not k.startswith("seconds")} for line in lines
    ]
