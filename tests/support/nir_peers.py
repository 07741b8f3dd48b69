"""The networks that run here, in norse and in snntorch, and how the peers run them.

    python -m support.nir_peers      (in `tests`, with the extra nir-peers installed)

records the peers' spikes anew, with the networks and inputs they belong to, into
`interop/nir/peer_spikes.npz`.
"""

import contextlib
import io
import logging
import warnings
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np

import apical
from apical import spiking
from apical.interop import nir

FILE = Path(__file__).parents[1] / "interop" / "nir" / "peer_spikes.npz"
DT = 1e-4  # the only one that snntorch knows
STEPS = 200


def networks():
    """By name: the layers, the shape of an example, and the peers that read them.

    norse takes R of a LIF as 1. snntorch wants one R dt / tau for all units of a LIF,
    and R = tau_mem / dt, one w_in dt / tau_syn in a CubaLIF. A CubaLIF with both is
    read by both.
    """
    rng = np.random.default_rng(16)

    def normal(scale, *shape):
        return rng.normal(0, scale, shape).astype(np.float32)

    def dense(size, scale=1.0):
        return nir.Affine(normal(0.6 * scale, size, 8), normal(0.05 * scale, size))

    def back(size, scale=1.0):
        return nir.Linear(normal(0.4 * scale, size, size))

    decays = rng.uniform(0.7, 0.97, 8)
    how = {"dt": DT, "reset": "zero"}
    same = nir.lif_from_decay(0.9, **how)
    unequal = nir.lif_from_decay(decays, **how)
    portable = nir.lif_from_decay(decays, **how, scale_input=True)
    cuba = nir.cuba_lif_from_decay(0.8, decays, **how)
    kernel = nir.Conv2d(normal(0.5, 3, 2, 3, 3), normal(0.05, 3), padding=1)
    again = nir.Conv2d(normal(0.7, 2, 3, 2, 2), normal(0.05, 2), stride=2)
    both, norse, snntorch = ("norse", "snntorch"), ("norse",), ("snntorch",)
    return {
        "two layers": ([dense(8), same, dense(8), same], (8,), both),
        "unequal decays": ([dense(8), unequal], (8,), snntorch),
        "unequal decays, R of 1": ([dense(8, 10), portable], (8,), norse),
        "a loop": ([dense(8), nir.Recurrent(same, back(8))], (8,), both),
        "a current": ([dense(8, 0.2), cuba, dense(8), same], (8,), both),
        "a loop with a current": (
            *([dense(8, 0.2), nir.Recurrent(cuba, back(8, 0.2))], (8,)),
            both,
        ),
        "a convolution": ([kernel, same, again, same], (2, 6, 6), both),
        "sums": ([kernel, same, nir.SumPool2d(2), again, same], (2, 6, 6), norse),
        "means": ([kernel, same, nir.AvgPool2d(2), again, same], (2, 6, 6), snntorch),
        "trained by e-prop": (trained_layers(dense, back, cuba, same), (8,), both),
    }


def trained_layers(dense, back, cuba, same):
    """Layers after 40 updates by e-prop, towards rates of the last layer."""
    layers = [dense(8, 0.2), nir.Recurrent(cuba, back(8, 0.2)), dense(8), same]
    rng = np.random.default_rng(17)
    x = (rng.random((60, 4, 8)) < 0.3).astype(np.float32)
    rates = rng.random((4, 8)).astype(np.float32) * 0.3

    def loss(weights, x, rates):
        made = with_weights(layers, weights)
        _, spikes = nir.run(made, x, dt=DT, spike=spiking.triangle())
        return ((spikes.mean(0) - rates) ** 2).sum(-1).mean()

    learner = apical.value_and_grad(loss, apical.rules.EProp(), batch_axes=(1, 0))
    weights, losses = weights_of(layers), []
    state = learner.init(jax.random.key(0), weights, x, rates)
    step = jax.jit(learner)
    for _ in range(40):
        credit = step(weights, state, x, rates)
        state = credit.state
        losses.append(float(credit.value))
        weights = jax.tree.map(lambda w, g: w - 0.05 * g, weights, credit.grads)
    assert losses[-1] < 0.8 * losses[0], losses
    print(f"trained by e-prop: loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    return with_weights(layers, jax.tree.map(np.asarray, weights))


def weights_of(layers):
    """The weights and biases of the layers with weights, by their place."""
    found = {}
    for i, each in enumerate(layers):
        part = each.synapses if isinstance(each, nir.Recurrent) else each
        if isinstance(part, nir.Affine | nir.Linear):
            found[i] = part
    return found


def with_weights(layers, weights):
    """The layers with other weights."""
    new = [*layers]
    for i, part in weights.items():
        loop = isinstance(new[i], nir.Recurrent)
        new[i] = nir.Recurrent(new[i].neurons, part) if loop else part
    return new


def inputs(shape):
    """The spikes that go in."""
    rng = np.random.default_rng(18)
    return (rng.random((STEPS, 2, *shape)) < 0.3).astype(np.float32)


def spikes_here(layers, x):
    """The spikes of the last layer here."""
    return np.asarray(jax.jit(lambda x: nir.run(layers, x, dt=DT)[1])(x))


def spikes_of(peer, graph, x):
    """The spikes of the last layer in a peer, which reads a graph of NIR."""
    import torch

    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peers, about themselves
        if peer == "norse":
            from norse.torch import from_nir

            logging.getLogger().setLevel(logging.ERROR)
            module = from_nir(graph, dt=DT)
        else:
            from snntorch.import_nir import import_from_nir

            module = import_from_nir(graph)
        state, spikes = None, []
        with torch.no_grad():
            for now in x:
                z, state = module(torch.tensor(now), state)
                spikes.append(z.numpy())
    return np.stack(spikes)


def exported(peer, layers, shape):
    """The layers in the form that a peer reads: norse takes R as 1."""
    if peer == "norse":
        return nir.absorb_resistance(layers, input_shape=shape)
    return layers


def record():
    """Run all networks in the peers and write the file."""
    import nir as package

    kept = {"versions": [f"{n} {version(n)}" for n in ("norse", "snntorch", "torch")]}
    for name, (layers, shape, peers) in networks().items():
        for peer in peers:
            graph = nir.to_graph(exported(peer, layers, shape), input_shape=shape)
            held = io.BytesIO()
            package.write(held, graph)
            spikes = spikes_of(peer, graph, inputs(shape))
            assert set(np.unique(spikes)) == {0, 1}, (name, peer)
            key = f"{peer}: {name}"
            kept[f"{key}|graph"] = np.frombuffer(held.getvalue(), np.uint8)
            kept[f"{key}|inputs"] = np.packbits(inputs(shape).astype(bool))
            kept[f"{key}|inputs' shape"] = inputs(shape).shape
            kept[f"{key}|spikes"] = np.packbits(spikes.astype(bool))
            kept[f"{key}|spikes' shape"] = spikes.shape
            print(f"{key}: {int(spikes.sum())} of {spikes.size}")
    np.savez_compressed(FILE, **kept)
    print(f"{FILE.stat().st_size:,} bytes")


def recorded():
    """By peer and network: the graph, the inputs and the peer's spikes."""
    import nir as package

    found = {}
    with np.load(FILE) as held:
        for key in [k.partition("|")[0] for k in held.files if k.endswith("|graph")]:
            trains = []
            for what in ("inputs", "spikes"):
                shape = held[f"{key}|{what}' shape"]
                bits = np.unpackbits(held[f"{key}|{what}"], count=np.prod(shape))
                trains.append(bits.reshape(shape).astype(np.float32))
            graph = package.read(io.BytesIO(held[f"{key}|graph"].tobytes()))
            found[key] = (graph, *trains)
    return found


if __name__ == "__main__":
    record()
