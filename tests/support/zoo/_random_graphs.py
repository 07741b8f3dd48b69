"""Random networks: directed acyclic graphs of small layers."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from hypothesis import strategies as st
from jax import lax

from ._model import Draw, Problem, squared

INPUTS, OUTPUTS, EXAMPLES, STEPS = 4, 2, 4, 3
JOINS = ("concatenate", "add", "multiply")
NONLINEARITIES = {
    "tanh": jnp.tanh,
    "sin": jnp.sin,
    "gelu": jax.nn.gelu,
    "softplus": jax.nn.softplus,
    "identity": lambda z: z,
}
SPELLINGS = {
    "dot": lambda h, w: h @ w,
    "summed": lambda h, w: (h[..., :, None] * w).sum(-2),
    "added": lambda h, w: sum(h[..., i : i + 1] * w[i] for i in range(len(w))),
    "cumulated": lambda h, w: jnp.cumsum(h[..., :, None] * w, axis=-2)[..., -1, :],
    "divided": lambda h, w: (h[..., :, None] / (1 / w)).sum(-2),
}
WRAPPERS = {
    "none": lambda layer: layer,
    "jit": jax.jit,
    "remat": jax.checkpoint,
    "vmap": lambda layer: jax.vmap(layer, in_axes=(None, 0)),
}


@dataclass(frozen=True)
class Node:
    """One layer: how it joins its parents (0 is the input), and what it does."""

    parents: tuple[int, ...]
    join: str
    rows: int
    width: int
    nonlinearity: str
    wrapper: str
    loop: str  # "none", "closed" (one weight for all steps) or "stacked"
    owner: int  # whose weight it uses: its own, or that of an earlier node
    skip: bool  # add the first parent to what comes out
    spelling: str  # how its weight meets what comes in
    scaled: bool  # by a gain


@dataclass(frozen=True)
class RandomGraph:
    """The loss function of a graph; printing it shows the graph."""

    nodes: tuple[Node, ...]

    def __call__(self, params: dict, x: jax.Array, y: jax.Array) -> jax.Array:
        values = [x]
        for index, node in enumerate(self.nodes, start=1):
            values.append(self._node(params, index, node, values))
        sinks = jnp.concatenate([values[i] for i in self.sinks()], axis=-1)
        return squared(sinks @ params["out"]["w"] + params["out"]["b"], y)

    def sinks(self) -> list[int]:
        read = {parent for node in self.nodes for parent in node.parents}
        return [i for i in range(1, len(self.nodes) + 1) if i not in read]

    def _node(self, params: dict, index: int, node: Node, values: list) -> jax.Array:
        parents = [values[parent] for parent in node.parents]
        own = {**params[f"node{index}"], "w": params[f"node{node.owner}"]["w"]}
        layer = WRAPPERS[node.wrapper](lambda own, h: _layer(node, own, h))
        h = layer(own, _joined(node.join, parents))
        return parents[0] + h if node.skip else h

    def params(self, draw: Draw) -> dict:
        params = {}
        for index, node in enumerate(self.nodes, start=1):
            params[f"node{index}"] = own = {"b": draw.bias(node.width)}
            if node.owner == index:
                own["w"] = draw.weight(node.rows, node.width)
            if node.scaled:
                own["g"] = draw.gain(node.width)
            if node.loop != "none":
                steps = (STEPS,) if node.loop == "stacked" else ()
                square = (*steps, node.width, node.width)
                own["u"] = draw.weight(*square, fan_in=node.width)
        rows = sum(self.nodes[i - 1].width for i in self.sinks())
        out = {"w": draw.weight(rows, OUTPUTS), "b": draw.bias(OUTPUTS)}
        return params | {"out": out}


def _joined(join: str, parents: list[jax.Array]) -> jax.Array:
    if len(parents) == 1:
        return parents[0]
    first, second = parents
    if join == "add":
        return (first + second) / 2
    if join == "multiply":  # bounded, so that products of products stay in range
        return first * jnp.tanh(1 + second)
    return jnp.concatenate([first, second], axis=-1)


def _layer(node: Node, own: dict[str, jax.Array], h: jax.Array) -> jax.Array:
    nonlinearity = NONLINEARITIES[node.nonlinearity]
    drive = SPELLINGS[node.spelling](h, own["w"]) + own["b"]
    if node.scaled:
        drive = drive * own["g"]
    if node.loop == "none":
        return nonlinearity(drive)

    def step(state, u):
        state = nonlinearity(drive + state @ (own["u"] if u is None else u))
        return 0.7 * state, None

    stacked = own["u"] if node.loop == "stacked" else None
    return lax.scan(step, jnp.zeros_like(drive), stacked, length=STEPS)[0]


@st.composite
def _nodes(draw: st.DrawFn, max_nodes: int) -> tuple[Node, ...]:
    same = draw(st.booleans())  # equal widths: more sums, products and shared weights
    widths = st.just(INPUTS) if same else st.integers(3, 6)
    looped = draw(st.integers(0, max_nodes))  # 0: no loop at all
    nodes: list[Node] = []
    for index in range(1, draw(st.integers(2, max_nodes)) + 1):
        loops = ["closed", "stacked"] if index == looped else ["none"]
        loop = draw(st.sampled_from(loops))
        nodes.append(draw(_node(nodes, draw(widths), loop)))
    return tuple(nodes)


@st.composite
def _node(draw: st.DrawFn, before: list[Node], width: int, loop: str) -> Node:
    earlier = [INPUTS, *(node.width for node in before)]
    chosen = st.lists(st.integers(0, len(before)), min_size=1, max_size=2, unique=True)
    parents = tuple(draw(chosen))
    sizes = [earlier[parent] for parent in parents]
    same = len(set(sizes)) == 1
    join = draw(st.sampled_from(JOINS if same else JOINS[:1]))
    rows = sum(sizes) if join == "concatenate" else sizes[0]
    return Node(
        parents,
        join,
        rows,
        width,
        draw(st.sampled_from(sorted(NONLINEARITIES))),
        draw(st.sampled_from(list(WRAPPERS))),
        loop,
        draw(_owners(before, rows, width)),
        width == sizes[0] and draw(st.booleans()),
        draw(st.sampled_from(["dot", *sorted(SPELLINGS)])),
        draw(st.booleans()),
    )


def _owners(before: list[Node], rows: int, width: int) -> st.SearchStrategy[int]:
    """Its own weight, or one of the same shape that an earlier node owns."""
    fits = [node.owner for node in before if (node.rows, node.width) == (rows, width)]
    return st.sampled_from([len(before) + 1, *sorted(set(fits))])


@st.composite
def random_graph(draw: st.DrawFn, max_nodes: int = 5) -> Problem:
    """Draw `(loss_fn, params, args)`: a mean over four examples."""
    graph = RandomGraph(draw(_nodes(max_nodes)))
    numbers = Draw(jax.random.key(draw(st.integers(0, 2**31 - 1))))
    x, y = numbers.normal(EXAMPLES, INPUTS), numbers.normal(EXAMPLES, OUTPUTS)
    return graph, graph.params(numbers), (x, y)
