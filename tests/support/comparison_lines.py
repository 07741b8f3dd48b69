"""Hand-made lines of a comparison, in the form that a run writes."""

import json

from apical.lab import Comparison
from apical.lab._registry import BASELINE, CONTROL

SHARED = {
    "optimizer": "adam",
    "loss": "cross-entropy",
    "sweep": 0,
    "apical": "0.1.0",
    "python": "3.11.7",
    "jax": "0.10.2",
    "jaxlib": "0.10.2",
    "numpy": "2.4.6",
    "optax": "0.2.8",
    "equinox": "0.13.8",
    "machine": "Linux x86_64",
    "device": "cpu",
    "data": "digits",
}
NEEDS = "weight transport, separate phases"
PARAMETERS = ("hidden.0.bias", "hidden.0.weight", "readout.bias", "readout.weight")
_TIMES = (
    "seconds_per_step",
    "seconds_per_step_of_backpropagation",
    "seconds_compiling",
)
_ALIGNMENTS = ("alignment_hidden", "alignment")
_MEASURED = ("test_accuracy", "training_loss", "test_loss", *_ALIGNMENTS, *_TIMES)


def record(model="mlp", rule=BASELINE, seed=0, epoch=0, **changes):
    """A line of `records.jsonl`; accuracy rises to 0.9, and 0.01 more for each seed."""
    epochs = changes.get("epochs", 2)
    return {
        **SHARED,
        "seeds": 3,
        "model": model,
        "rule": rule,
        "rule_class": "Backpropagation",
        "descends": "cross-entropy",
        "needs": NEEDS,
        "hyper_parameters": "{}",
        "learning_rate": 0.003,
        "batch_size": 64,
        "epochs": epochs,
        "training_examples": 1437,
        "test_examples": 360,
        "note": "",
        "seed": seed,
        "epoch": epoch,
        "status": "ok",
        "message": "",
        "training_loss": None if epoch == 0 else 1.0 / epoch,
        "test_loss": 1.0 / (1 + epoch),
        "test_accuracy": 0.1 + 0.8 * epoch / epochs + 0.01 * seed,
        "alignment_hidden": 0.5 + 0.4 * epoch / epochs,
        "alignment": 0.7 + 0.2 * epoch / epochs,
        "norm_ratio": 1.0,
        "sign_agreement": 0.9,
        "seconds_per_step": None if epoch == 0 else 0.002,
        "seconds_per_step_of_backpropagation": None if epoch == 0 else 0.001,
        "seconds_compiling": 1.0 if epoch == 0 else None,
    } | changes


def run(
    model="mlp", rule=BASELINE, seeds=3, epochs=2, reached=None, gain=0.0, **changes
):
    """The records of one run; `gain` is added to the accuracy of its last epoch."""
    made = [
        record(model, rule, seed, epoch, epochs=epochs, **{"seeds": seeds, **changes})
        for epoch in range((epochs if reached is None else reached) + 1)
        for seed in range(seeds)
    ]
    for line in made:
        if line["epoch"] == epochs and line["test_accuracy"] is not None:
            line["test_accuracy"] += gain
    return made


def diverged(model="mlp", rule="kolen-pollack", seeds=3, lost=(1,), **changes):
    """A run of which these seeds diverge in the first epoch."""
    made = run(model, rule, seeds, **changes)
    for line in made:
        if line["seed"] in lost and line["epoch"] > 0:
            line.update(dict.fromkeys(_MEASURED[:5]))
            line.update(status="diverged", message="loss or logits not finite")
    return made


def refused(model="mlp", rule="sign-concordance", message="no synapse here", **changes):
    """A run that its rule refuses."""
    made = run(model, rule, reached=0, **changes)
    for line in made:
        line.update(dict.fromkeys(_MEASURED), status="refused", message=message)
    return made


def layers(records, parameters=PARAMETERS, value=None):
    """The layers of these records; `value(place, line)` is the alignment of each.

    A layer is what has the same path but for its last part; the last is the read-out.
    """
    names = [name.rpartition(".")[0] or name for name in parameters]
    places = {name: i for i, name in enumerate(dict.fromkeys(names))}

    def aligned(layer, line):
        if value is None:
            return line["alignment_hidden"]
        return value(places[layer], line)

    return [
        {**line, "place": place, "parameter": name, "layer": layer}
        | {"hidden": layer != names[-1], "layer_alignment": aligned(layer, line)}
        for line in records
        if line["status"] != "refused"
        for place, (name, layer) in enumerate(zip(parameters, names, strict=True))
    ]


def cost(model="mlp", rule=BASELINE, ratio=1.5):
    """A line of `costs.jsonl`, of which the page reads the ratios and the depth."""
    return {
        **SHARED,
        **{"model": model, "rule": rule, "seconds_ratio": ratio, "flops_ratio": ratio},
        **{"memory_bytes_ratio": ratio, "depth": 6, "depth_of_backpropagation": 4},
    }


def trials(model="mlp", rule=BASELINE, number=8, lost=()):
    """The trials of a sweep: the best in the middle, worse the further from it."""
    return [
        {
            **SHARED,
            **{"sweep": number, "model": model, "rule": rule, "trial": i},
            "seed": 1_000_003,
            "learning_rate": 1e-4 * 3.0**i,
            "numbers": json.dumps({"decay": 0.01 * (i + 1)}),
            "status": "diverged" if i in lost else "ok",
            "held_out_accuracy": None
            if i in lost
            else 0.95 - 0.04 * abs(i - number // 2),
            "held_out_loss": None if i in lost else 0.1,
            "test_accuracy": None if i in lost else 0.94 - 0.04 * abs(i - number // 2),
            "chosen": i == number // 2,
        }
        for i in range(number)
    ]


def asked(records):
    """The settings of a comparison that has come to its end, from its records."""
    first = records[0] if records else record()
    known = ("data", "epochs", "seeds", "batch_size", "optimizer", "loss", "sweep")
    return {
        **{name: first[name] for name in known},
        "data_dir": None,
        "models": list(dict.fromkeys(line["model"] for line in records)),
        "rules": list(dict.fromkeys(line["rule"] for line in records)),
        "learning_rate": None if first["sweep"] else first["learning_rate"],
        "given_as_objects": [],
    }


def comparison(records, *lists, **named):
    """A comparison of these lines."""
    return Comparison(records, *lists, **{"settings": asked(records), **named})


def whole(models=("mlp", "cnn"), rules=(BASELINE, "kolen-pollack", CONTROL), **changes):
    """A comparison that has everything."""
    records = [
        line
        for model in models
        for i, rule in enumerate(rules)
        for line in run(model, rule, gain=-0.003 * i * i, **changes)
    ]
    pairs = [(model, rule) for model in models for rule in rules]
    return comparison(
        records,
        layers(records, value=lambda place, line: 0.2 * place + 0.05 * line["epoch"]),
        [line for pair in pairs for line in trials(*pair)],
        [cost(*pair, ratio=1.0 + i % 7) for i, pair in enumerate(pairs)],
    )
