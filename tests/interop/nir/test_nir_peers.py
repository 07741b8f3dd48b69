"""Networks fire the same spikes here, in norse and in snntorch, over 200 steps.

The peers' spikes are recorded in `peer_spikes.npz`, with the graphs that they read;
`python -m support.nir_peers` records them anew. Where the peers are installed, by the
extra nir-peers, they run as well.
"""

import importlib.util

import nir as package
import numpy as np
import pytest
from support import nir_peers as peers

from apical.interop import nir

pytestmark = pytest.mark.grid(keep=3)

RECORDED = peers.recorded()
needs_peers = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("norse", "snntorch"))),
    reason="needs norse and snntorch: pip install apical[nir-peers]",
)


@pytest.mark.parametrize("key", RECORDED)
def test_a_network_fires_as_in_the_peer_that_was_recorded(key):
    graph, x, spikes = RECORDED[key]
    layers = nir.from_graph(graph)
    assert len(x) == peers.STEPS
    assert 100 < spikes.sum() < spikes.size / 2
    assert np.array_equal(peers.spikes_here(layers, x), spikes)


def moved(layers, factor):
    """The layers with other thresholds."""
    return [
        nir.Recurrent(moved([each.neurons], factor)[0], each.synapses)
        if isinstance(each, nir.Recurrent)
        else type(each)(**(vars(each) | {"v_threshold": each.v_threshold * factor}))
        if hasattr(each, "v_threshold")
        else each
        for each in layers
    ]


@pytest.mark.parametrize(
    "key", ["norse: trained by e-prop", "snntorch: a loop with a current"]
)
def test_the_agreement_is_no_luck_of_rounding(key):
    graph, x, spikes = RECORDED[key]
    layers = nir.from_graph(graph)
    for factor in (1 - 1e-5, 1 + 1e-5):  # a hundred times what float32 rounds
        assert np.array_equal(peers.spikes_here(moved(layers, factor), x), spikes)
    for factor in (1 - 1e-2, 1 + 1e-2):
        assert not np.array_equal(peers.spikes_here(moved(layers, factor), x), spikes)


@pytest.mark.parametrize(
    "other",
    [
        {"method": "exact"},
        {"dt": 0.9e-4},
        {"late": True},
        {"v_reset": 0.1},
        {"v_leak": 0.02},
    ],
    ids=str,
)
def test_another_convention_gives_other_spikes(other):
    graph, x, spikes = RECORDED["norse: trained by e-prop"]
    layers = nir.from_graph(graph)
    if other.pop("late", False):  # a step of delay between the layers
        layers = [*layers[:2], nir.Delay(peers.DT), *layers[2:]]
    how = {name: other.pop(name) for name in ("method", "dt") if name in other}
    layers[-1] = type(layers[-1])(**(vars(layers[-1]) | other))
    found = nir.run(layers, x, **{"dt": peers.DT, **how})[1]
    assert not np.array_equal(found, spikes)


@needs_peers
@pytest.mark.parametrize("key", RECORDED)
def test_a_file_written_here_fires_in_the_peer_as_it_was_recorded(key, tmp_path):
    graph, x, spikes = RECORDED[key]
    path, layers = tmp_path / "net.nir", nir.from_graph(graph)
    nir.write(path, layers, dt=peers.DT, input_shape=x.shape[2:])
    theirs = peers.spikes_of(key.partition(":")[0], package.read(path), x)
    assert np.array_equal(theirs, spikes)


def lif(**more):
    return nir.lif_from_decay(0.9, dt=peers.DT, **{"reset": "zero", **more})


WEIGHTS = np.random.default_rng(1).normal(0, 1, (8, 8)).astype(np.float32)
DENSE, MORE = nir.Linear(WEIGHTS), nir.Linear(10 * WEIGHTS)
UNEVEN = nir.LIF(tau=1e-3, r=np.linspace(5, 10, 8))
LEAK = nir.LIF(tau=1e-3, v_leak=0.5)
CUBA_LEAK = nir.CubaLIF(tau_mem=1e-3, tau_syn=1e-3, v_leak=0.5)


@needs_peers
@pytest.mark.parametrize(
    ("peer", "layers", "agrees"),  # or None, where the peer refuses
    [
        ("norse", [MORE, nir.LIF(1e-3, 2.0)], False),  # R of a LIF is taken as 1
        ("norse", [MORE, lif(scale_input=True)], True),
        ("norse", [MORE, lif(scale_input=True, reset=-0.5)], False),  # v_reset is 0
        ("norse", [MORE, LEAK], True),
        ("norse", [MORE, CUBA_LEAK], False),  # v_leak is given to the current too
        ("norse", [MORE, nir.Scale(0.5), lif(scale_input=True)], False),  # left out
        ("norse", [MORE, nir.LI(1e-3)], False),  # left out
        ("norse", [DENSE, nir.Delay(1e-4)], False),  # left out
        ("norse", [DENSE, nir.IF(r=1e4)], True),
        ("norse", [DENSE, nir.IF(r=2e4)], False),  # R dt is taken as 1
        ("snntorch", [DENSE, lif()], True),
        ("snntorch", [MORE, lif(scale_input=True)], True),
        ("snntorch", [DENSE, lif(reset=-0.5)], False),  # v_reset is 0
        ("snntorch", [DENSE, UNEVEN], False),  # R dt / tau of the first unit for all
        ("snntorch", [MORE, LEAK], None),  # v_leak must be 0
        ("snntorch", [MORE, nir.CubaLIF(1e-3, 1e-3)], None),  # R must be tau_mem / dt
        ("snntorch", [MORE, nir.IF()], None),
        ("snntorch", [DENSE, nir.Scale(0.5), lif()], None),
        ("snntorch", [DENSE, nir.LI(1e-3)], None),
        ("snntorch", [DENSE, nir.Delay(1e-4)], None),
    ],
)
def test_the_table_of_what_the_peers_read_is_true(peer, layers, agrees):
    x = peers.inputs((8,))
    graph = nir.to_graph(layers)
    if agrees is None:
        with pytest.raises(Exception):  # noqa: B017  whatever it raises
            peers.spikes_of(peer, graph, x)
        return
    ours = peers.spikes_here(layers, x)
    assert ours.any()
    assert np.array_equal(ours, peers.spikes_of(peer, graph, x)) == agrees


@needs_peers
@pytest.mark.parametrize("peer", ["norse", "snntorch"])
def test_the_peers_flatten_the_batch_as_well(peer):
    layers = [nir.Flatten(), DENSE, nir.LIF(1e-3, 10.0)]
    graph = nir.to_graph(layers, input_shape=(2, 4))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        peers.spikes_of(peer, graph, peers.inputs((2, 4)))


@needs_peers
def test_snntorch_reads_loops_from_subgraphs_alone():
    graph, x, spikes = RECORDED["snntorch: a loop"]
    dense, loop = nir.from_graph(graph)
    flat = nir.to_graph([dense, loop.neurons])
    nodes = {name.replace("layer_1_lif", "a.lif"): n for name, n in flat.nodes.items()}
    nodes["a.w"] = package.Linear(loop.synapses.weight)
    first, last = next(n for n in nodes if "affine" in n), "a.lif"
    chain = [("input", first), (first, last), (last, "output")]
    graph = package.NIRGraph(nodes, [*chain, (last, "a.w"), ("a.w", last)])
    assert np.array_equal(peers.spikes_here(nir.from_graph(graph), x), spikes)
    assert np.array_equal(peers.spikes_of("norse", absorbed(graph), x), spikes)
    assert not np.array_equal(peers.spikes_of("snntorch", graph, x), spikes)


def absorbed(graph):
    """The graph as norse reads it, its loop flat."""
    return nir.to_graph(nir.absorb_resistance(nir.from_graph(graph)))
