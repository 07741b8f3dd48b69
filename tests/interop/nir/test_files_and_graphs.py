"""Networks go to NIR and come back the same; what is no chain is refused by name."""

import subprocess
import sys

import jax.numpy as jnp
import nir as package
import numpy as np
import pytest

from apical.interop import nir

RNG = np.random.default_rng(11)
DT = 1e-3


def normal(*shape):
    return RNG.normal(0, 1, shape).astype(np.float32)


def positive(*shape):
    return RNG.uniform(5e-3, 3e-2, shape)


DENSE = [
    *(nir.Affine(normal(5, 4), normal(5)), nir.LIF(positive(5), r=3.0)),
    nir.Recurrent(nir.CubaLIF(positive(5), positive(5), 4.0), nir.Linear(normal(5, 5))),
    nir.Linear(jnp.asarray(normal(6, 5))),
    nir.Recurrent(
        nir.LIF(2e-2, 9.0, 0.1, 0.9, -0.2), nir.Affine(normal(6, 6), normal(6))
    ),
    *(nir.Delay(np.array([0, 1, 2, 3, 0, 9]) * DT), nir.Scale(normal(6))),
    *(nir.IF(r=300.0), nir.Linear(normal(3, 6)), nir.CubaLI(1e-2, positive(3))),
    *(nir.LI(1e-2, 2.0, 0.1), nir.Threshold(normal(3) * 0.1), nir.I(50.0)),
]
IMAGES = [
    nir.Conv2d(normal(3, 2, 3, 3), normal(3), stride=(2, 1), padding=1),
    *(nir.LIF(positive(3, 4, 8), r=9.0), nir.AvgPool2d(2)),
    *(nir.Conv2d(normal(2, 3, 1, 1), normal(2), padding="same"), nir.IF(2000.0)),
    *(nir.SumPool2d((2, 1), (1, 1)), nir.Flatten(1, 2)),
    nir.Conv1d(normal(4, 2, 2), normal(4), dilation=2, padding=1),
    *(nir.LIF(1e-2, 5.0), nir.Flatten(), nir.Linear(normal(3, 16)), nir.LIF(1e-2, 9.0)),
]
CASES = {"dense": (DENSE, (4,)), "images": (IMAGES, (2, 8, 8))}


@pytest.mark.parametrize("case", CASES)
def test_a_network_comes_back_from_its_file_with_the_same_spikes(case, tmp_path):
    layers, shape = CASES[case]
    path = tmp_path / "net.nir"
    nir.write(path, layers, dt=DT, method="exact", input_shape=shape)
    network = nir.read(path)
    assert (network.dt, network.method) == (DT, "exact")
    assert [type(each) for each in network.layers] == [type(each) for each in layers]
    for before, after in zip(layers, network.layers, strict=True):
        pairs = [(before, after)]
        if isinstance(before, nir.Recurrent):
            pairs = [(getattr(before, n), getattr(after, n)) for n in vars(before)]
        for mine, back in pairs:
            for name, value in vars(mine).items():
                found = getattr(back, name)
                if isinstance(value, tuple | str | int):  # no array: how, not what
                    assert found == value
                    continue
                whole = np.broadcast_to(np.asarray(value), np.shape(found))
                assert np.array_equal(found, whole)
                assert found.dtype == whole.dtype
    x = (RNG.random((25, 2, *shape)) < 0.5).astype(np.float32)
    expected = nir.run(layers, x, dt=DT, method="exact")[1]
    found = nir.run(network.layers, x, dt=DT, method="exact")[1]
    assert np.std(expected) > 0.1
    assert np.array_equal(found, expected)


def test_a_second_trip_changes_nothing(tmp_path):
    paths = [tmp_path / "one.nir", tmp_path / "two.nir"]
    nir.write(paths[0], DENSE, dt=DT)
    once = nir.read(paths[0]).layers
    nir.write(paths[1], once, dt=DT)
    arrays = [
        {n: np.asarray(v).tolist() for n, v in vars(each).items()}
        for path in paths
        for each in nir.read(path).layers
        if not isinstance(each, nir.Recurrent)
    ]
    assert arrays[: len(arrays) // 2] == arrays[len(arrays) // 2 :]


def graph(nodes, edges, check=True):
    shape = np.array([2])
    ends = {
        "in": package.Input({"input": shape}),
        "out": package.Output({"output": shape}),
    }
    return package.NIRGraph(ends | nodes, edges, type_check=check)


def lif():
    one = np.ones(2)
    return package.LIF(tau=0.01 * one, r=one, v_leak=0 * one, v_threshold=one)


W = package.Linear(np.eye(2))
LOOP = [("in", "a"), ("a", "w"), ("w", "a"), ("a", "out")]


def test_a_flat_loop_and_a_subgraph_are_the_same_layer():
    inner = graph({"a": lif(), "w": W}, LOOP)
    nested = graph({"z": inner, "b": lif()}, [("in", "z"), ("z", "b"), ("b", "out")])
    flat = graph(
        {"a": lif(), "b": lif(), "w": W}, [*LOOP[:3], ("a", "b"), ("b", "out")]
    )
    for each in (nested, flat):
        first, second = nir.from_graph(each)
        assert isinstance(first, nir.Recurrent)
        assert isinstance(first.synapses, nir.Linear)
        assert isinstance(second, nir.LIF)
    # What we write has the loop in a subgraph.
    assert "layer_0_recurrent" in nir.to_graph(nir.from_graph(flat)).nodes


class Unheard(package.LIF):
    """A neuron of a later version of NIR."""


UNHEARD = Unheard(*[np.ones(2)] * 4)
CHAIN = [("in", "a"), ("a", "out")]


@pytest.mark.parametrize(
    ("nodes", "edges", "words"),
    [
        (
            {"a": lif(), "b": lif()},
            "in-a in-b a-out b-out",
            "'in' goes to 'a', 'b'",
        ),
        ({"a": lif(), "b": lif()}, "in-a a-b a-out b-out", "'a' goes to 'b', 'out'"),
        ({"a": lif(), "b": lif(), "w": W}, "in-a a-b b-w w-a b-out", "'a' has inputs"),
        (
            {"a": lif(), "b": lif()},
            "in-a a-b b-a b-out",
            "inputs from 'in' and",
        ),
        ({"a": lif(), "w": W, "c": lif()}, "in-a a-w w-a w-c a-out", "'a' has inputs"),
        ({"a": lif()}, "in-a a-a a-out", "'a' has an edge to itself"),
        ({"a": lif()}, "in-a a-out a-out", "is there twice"),
        ({"a": lif(), "lost": lif()}, "in-a a-out", "no path .* reaches: 'lost'"),
        ({"a": lif()}, "in-a a-out in-b", "names the node 'b'"),
        ({"a": lif(), "b": lif()}, "in-a a-b", "'b' goes to nothing"),
        ({"a": lif(), "in2": package.Input({"input": [2]})}, "in-a a-out", "2 nodes"),
        ({"a": UNHEARD}, "in-a a-out", "'a' is a Unheard, which is"),
        ({"s": graph({"a": UNHEARD}, CHAIN)}, "in-s s-out", "'s/a' is a Unheard"),
    ],
)
def test_a_graph_that_is_no_chain_is_refused_by_name(nodes, edges, words):
    pairs = [tuple(edge.split("-")) for edge in edges.split()]
    with pytest.raises(ValueError, match=words):
        nir.from_graph(graph(nodes, pairs, check=False))


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (nir.Conv2d(normal(2, 2, 3, 1), normal(2)), (2, 5, 5), "kernel of .3, 1"),
        (nir.Conv2d(normal(2, 1, 3, 3), normal(2), groups=2), (2, 5, 5), "2 groups"),
        (nir.Linear(jnp.ones((2, 2), jnp.bfloat16)), 2, "type bfloat16"),
    ],
)
def test_what_files_cannot_hold_is_refused(layer, shape, words):
    with pytest.raises(ValueError, match=words):
        nir.to_graph([layer], input_shape=shape)


def test_the_refused_shapes_are_those_that_the_package_cannot_read(tmp_path):
    # When this fails, the package reads them, and the refusal can go.
    node = package.Conv2d((5, 5), normal(2, 2, 3, 1), 1, 0, 1, 1, normal(2))
    assert node.output_type["output"].tolist() != [2, 3, 5]
    node = package.Conv2d((5, 5), normal(2, 1, 3, 3), 1, 0, 1, 2, normal(2))
    assert node.input_type["input"].tolist() != [2, 5, 5]


def test_files_of_others_tell_no_time_step(tmp_path):
    package.write(tmp_path / "a.nir", graph({"a": lif()}, CHAIN))
    network = nir.read(tmp_path / "a.nir")
    assert (network.dt, network.method) == (None, None)
    assert isinstance(network.layers[0], nir.LIF)


def test_without_the_package_running_works_and_writing_names_the_extra():
    code = (
        "import sys; sys.modules['nir'] = None\n"
        "import jax.numpy as jnp\n"
        "from apical.interop import nir\n"
        "nir.init_state([nir.LIF(1e-2)], 1, dt=1e-3, input_shape=1)\n"
        "try: nir.write('x', [nir.LIF(1e-2)], dt=1e-3, input_shape=1)\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "install apical[nir]" in done.stdout, done.stderr
