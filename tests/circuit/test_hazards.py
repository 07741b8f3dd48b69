"""The hazards of rewriting a traced program, each found by trying, each as a test.

The numbers are those of the list of hazards in the design. Beside every equality
stands a control that would fail if nothing had been rewritten.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from support.laws import (
    assert_rewritten,
    assert_same,
    distance,
    dot,
    drawn,
    gradients,
    normal,
    problem,
    stacked,
    through,
    traced,
)
from support.zoo import OPAQUE
from support.zoo._model import Draw
from support.zoo._structured import block, block_params

import apical
from apical.rules import FeedbackAlignment, KolenPollack, PredictiveCoding
from apical.rules.feedback._feedback_weights import require_different

KEY = jax.random.key(0)


def two_layers(params, x, y, operation=jnp.tanh):
    return jnp.mean((operation(x @ params["a"]) @ params["b"] - y) ** 2)


X, Y = normal(1, 5, 3), normal(2, 5, 2)
SQUARE = {"a": normal(3, 6, 6), "b": normal(4, 6, 6)}
TWO = {"a": normal(3, 3, 4), "b": normal(4, 4, 2)}


# ----------------------------------------------------------- 1: nothing was rewritten


def test_1_multiply_and_sum_is_rewritten_as_the_dot_that_it_is():
    model, _ = OPAQUE["multiply_and_sum"]
    loss_fn, params, args = model.make(KEY)
    found, copy = traced(loss_fn, params, *args), drawn(params)

    def oracle(params, x, y):
        def summed(h, w):
            return (h[:, :, None] * w).sum(1)

        h = jnp.tanh(x @ params["w_below"])
        h = jnp.tanh(through(summed, h, params["w_opaque"], copy["w_opaque"]))
        return 0.5 * jnp.sum((dot(h, params["w_above"], copy["w_above"]) - y) ** 2) / 4

    own, other = gradients(found, copy)
    assert_same(other, jax.jit(jax.grad(oracle))(params, *args))
    assert found.changed(other, own) == {"w_below", "w_opaque"}


def test_1_a_tied_weight_is_rewritten_at_every_site():
    found = problem("tied_weight")
    copy = drawn(found.learned)

    def oracle(params, x, y, upper):
        w, b = params["above"], copy["above"]
        h = jnp.tanh(x @ params["below"] + params["bias"])
        out = dot(jnp.tanh(dot(h, w, b)), w.T, b.T if upper else w.T)
        return 0.5 * jnp.sum((out - y) ** 2) / 4

    _, other = gradients(found, copy)
    expected = jax.jit(jax.grad(oracle), static_argnums=3)
    assert_same(other, expected(found.learned, *found.args, True))
    one_site = expected(found.learned, *found.args, False)
    assert found.changed(other, one_site) >= {"below", "bias"}


def test_1_a_users_derivative_is_honoured():
    own, itself = gradients(problem("custom_vjp"), problem("custom_vjp").learned)
    assert_same(itself, own)
    # The true derivative of a step is zero: without the user's rule nothing is learned.
    assert all(np.any(leaf) for leaf in jax.tree.leaves(own[:-1]))


@pytest.mark.parametrize("name", ["rnn", "scan_xs"])
def test_1_feedback_reaches_the_loops_whose_steps_are_evaluated_at_once(name):
    found = problem(name)
    held = found.run(found.learned, found.args).sites
    copy = drawn(found.learned)

    def energy(held, copy, parallel):
        options = {"feedback": copy, "parallel": parallel}
        run = found.run(found.learned, found.args, tap="clamp", inject=held, **options)
        squares = (jnp.sum((held[n] - run.sites[n] - 1) ** 2) for n in held)
        return run.loss + sum(squares)

    slope = jax.jit(jax.grad(energy), static_argnums=2)
    assert_same(slope(held, copy, True), slope(held, copy, False))
    own, other = slope(held, found.learned, False), slope(held, copy, False)
    assert all(distance(own[node], other[node]) > 0.1 for node in held)


# --------------------------------------------- 2: lost inside remat, cond and while


def test_2_every_synapse_of_a_scanned_and_recomputed_transformer_is_found():
    draw = Draw(KEY)
    blocks = stacked(*(block_params(draw) for _ in range(3)))
    params = {"in": draw.weight(5, 6), "blocks": blocks, "out": draw.weight(6, 2)}

    def loss_fn(params, x):
        def body(stream, each):
            return jax.checkpoint(block)(each, stream), None

        stream, _ = lax.scan(body, x @ params["in"], params["blocks"])
        return jnp.mean((stream @ params["out"]) ** 2)

    circuit = apical.trace(loss_fn)(params, draw.normal(4, 7, 5))
    found = {synapse.name for synapse in circuit.synapses}
    inside = {"blocks.qkv", "blocks.o", "blocks.mlp.0.w", "blocks.mlp.1.w"}
    assert found == {"in", "out"} | inside
    assert {s.loops for s in circuit.synapses if s.name in inside} == {(3,)}


def test_2_an_unknown_operation_is_reported():
    loss_fn, params, args = OPAQUE["pure_callback"][0].make(KEY)
    circuit = apical.trace(loss_fn)(params, *args)
    (unknown,) = circuit.unknown
    assert unknown.startswith("`pure_callback` at ") and "_hazards.py" in unknown
    assert "not known to apical: `pure_callback`" in str(circuit)


# ---------------------------------------------------------- 3: weights by rank


def test_3_a_weight_is_what_reaches_a_synapse_whatever_its_rank():
    params = {"kernel": normal(1, 3, 2, 4), "bias": normal(2, 1, 1, 4)}
    params |= {"out": normal(3, 4), "scale": normal(4, 3, 4)}

    def loss_fn(params, x):
        window = {"window_strides": (1,), "padding": "VALID"}
        numbers = {"dimension_numbers": ("NWC", "WIO", "NWC")}
        h = lax.conv_general_dilated(x, params["kernel"], **window, **numbers)
        h = jnp.tanh(h + params["bias"]) * params["scale"]
        return jnp.mean((h @ params["out"]) ** 2)  # a weight of rank one

    found = traced(loss_fn, params, normal(5, 6, 5, 2))
    assert {s.name for s in found.circuit.synapses} == {"kernel", "out"}
    assert set(found.circuit.unreached) == {"bias", "scale"}
    state = FeedbackAlignment().init(found.circuit, KEY, params, found.args)
    given = {path for path, copy in state.feedback.items() if copy is not None}
    assert given == {"kernel", "out"}
    assert_rewritten(found, {"kernel", "bias", "scale"})


# ------------------------------------------------------------- 4: None inside a tree


def test_4_a_hole_in_a_module_does_not_shift_its_feedback():
    keys = iter(jax.random.split(KEY, 3))
    layers = [eqx.nn.Linear(4, 4, use_bias=False, key=next(keys)) for _ in range(3)]
    module = {"layers": layers, "activation": jnp.tanh, "nothing": None, "size": 3}

    def loss_fn(module, x):
        for layer in module["layers"]:
            x = module["activation"](jax.vmap(layer)(x))
        return jnp.mean(x**2) * module["size"]

    def bare(weights, x):
        for weight in weights:
            x = jnp.tanh(x @ weight.T)
        return 3 * jnp.mean(x**2)

    x, weights = normal(5, 6, 4), [layer.weight for layer in layers]
    found, plain = traced(loss_fn, module, x), traced(bare, weights, x)
    copies = drawn(weights)
    _, bare_grads = gradients(plain, copies)

    @jax.jit
    def through(copies):
        tree = jax.tree.unflatten(jax.tree.structure(found.learned), copies)
        return jax.grad(lambda p: found.run(p, (x,), feedback=tree).loss)(found.learned)

    grads = through(copies)
    assert_same(jax.tree.leaves(grads), bare_grads)
    swapped = jax.tree.leaves(through(copies[::-1]))
    assert distance(swapped[0], bare_grads[0]) > 0.1
    assert jax.tree.structure(grads) == jax.tree.structure(found.learned)


def test_4_a_copy_may_have_holes_of_its_own():
    found, copy = problem("mlp_tanh"), drawn(problem("mlp_tanh").learned)
    partly = [copy[0], {"w": None, "b": None}, copy[2]]
    filled = [copy[0], found.learned[1], copy[2]]

    @jax.jit
    def through(learned):
        def loss(learned, copy):
            return found.run(learned, found.args, feedback=copy).loss

        return [jax.grad(loss)(learned, each) for each in (partly, filled, copy)]

    with_holes, without, everywhere = through(found.learned)
    assert_same(with_holes, without)
    assert found.changed(everywhere, without) == {"0.w", "0.b"}


# ------------------------------------------------------------------- 5: embeddings


def test_5_a_table_that_is_looked_up_becomes_an_activity():
    found = problem("embedding_mlp")
    names = [synapse.name for synapse in found.circuit.synapses]
    assert names == ["layers.0.w", "layers.1.w", "layers.2.w"]
    assert found.circuit.nodes[0].name == "embed"
    assert "table" in found.circuit.unreached["embed"]
    assert_rewritten(found, {"embed", "layers.0.w", "layers.1.w"})


# -------------------------------------------------------------- 6: canonical nodes


SPELLED = {
    "plainly": lambda h: h,
    "times one": lambda h: h * 1.0,
    "cast": lambda h: h.astype(jnp.bfloat16).astype(jnp.float32),
    "in halves": lambda h: jnp.concatenate(jnp.split(h, 2, axis=1), axis=1),
    "jitted": jax.jit(lambda h: 1.0 * h),
    "recomputed": jax.checkpoint(lambda h: 1.0 * h),
}


def free_equilibrium(operation):
    """Where free predictions lead; the output is one more layer up."""

    def loss_fn(params, x, y):
        return two_layers(params, jnp.tanh(operation(jnp.tanh(x @ params["c"]))), y)

    params = {"a": normal(3, 4, 4), "b": normal(4, 4, 2), "c": normal(6, 3, 4)}
    rule = PredictiveCoding(steps=30, rate=0.1, prediction="free")
    learner = apical.value_and_grad(loss_fn, rule)
    credit = jax.jit(learner)(params, learner.init(KEY, params, X, Y), X, Y)
    return apical.trace(loss_fn)(params, X, Y), credit.grads


@pytest.fixture(scope="module")
def plain_equilibrium():
    return free_equilibrium(SPELLED["plainly"])


@pytest.mark.parametrize("spelling", SPELLED)
def test_6_one_activity_is_one_node_however_it_is_spelled(spelling, plain_equilibrium):
    circuit, grads = free_equilibrium(SPELLED[spelling])
    plain, expected = plain_equilibrium
    assert [node.name for node in circuit.nodes] == [node.name for node in plain.nodes]
    assert_same(grads, expected, 2e-2 if spelling == "cast" else 1e-5)


def test_6_another_node_moves_the_free_equilibrium(plain_equilibrium):
    plain, expected = plain_equilibrium
    circuit, grads = free_equilibrium(lambda h: apical.node(jnp.sin(h), "more"))
    assert len(circuit.nodes) == len(plain.nodes) + 1
    assert distance(grads["c"], expected["c"]) > 1e-2


# ---------------------------------------------------------------- 7: vacuous tests


def test_7_feedback_cannot_matter_where_no_synapse_lies_above():
    def one_layer(params, x, y):
        return jnp.mean((jnp.tanh(x @ params["a"]) @ jnp.ones((4, 2)) - y) ** 2)

    alone = traced(one_layer, {"a": TWO["a"]}, X, Y)
    own, other = gradients(alone, drawn(alone.learned))
    assert_same(other, own)
    assert_rewritten(traced(two_layers, TWO, X, Y), {"a"})


def test_7_a_control_that_only_shifts_logits_controls_nothing():
    found = problem("mlp_relu")

    def loss(errors):
        options = {"tap": "offset", "inject": {"output": errors}}
        return found.run(found.learned, found.args, **options).loss

    logits = found.run(found.learned, found.args, sites=["output"]).sites["output"]
    undisturbed = found.loss(found.learned, found.args)[0]
    assert distance(loss(jnp.ones_like(logits)), undisturbed) < 1e-6
    assert distance(loss(logits), undisturbed) > 1e-2


# ------------------------------------------------------ 8: feedback from the same key


def test_8_a_folded_key_is_a_split_key():
    """So feedback drawn from the user's key could *be* the parameters."""
    data = jax.random.key_data
    split = jax.random.split(KEY, 3)
    for i in range(3):
        np.testing.assert_array_equal(data(jax.random.fold_in(KEY, i)), data(split[i]))


@pytest.mark.parametrize("rule", [FeedbackAlignment(), KolenPollack()], ids=type)
def test_8_feedback_drawn_from_the_users_own_key_is_not_the_parameters(rule):
    own = [
        KEY,
        *jax.random.split(KEY, 2),
        *(jax.random.fold_in(KEY, i) for i in (2, 3)),
    ]
    circuit = apical.trace(two_layers)(SQUARE, normal(1, 5, 6), normal(2, 5, 6))
    state = rule.init(circuit, KEY, SQUARE, ())
    for copy in jax.tree.leaves(state.feedback):
        for key in own:
            drawn = jax.random.normal(key, (6, 6))
            assert abs(jnp.vdot(copy, drawn) / jnp.sum(drawn**2)) < 0.6


def test_8_feedback_that_equals_the_parameters_is_refused():
    circuit = apical.trace(two_layers)(TWO, X, Y)
    with pytest.raises(ValueError, match=r"feedback weights of 'b' equal.*another key"):
        require_different(circuit, TWO, {"a": None, "b": TWO["b"]})
    require_different(circuit, TWO, drawn(TWO))


# ----------------------------------------------------------- 9: a rho that is linear


def test_9_a_division_after_pooling_is_no_nonlinearity():
    def pooled(h):
        return lax.reduce_window(h, 0.0, lax.add, (1, 2), (1, 2), "VALID") / 2

    def is_unit(operation):
        params = {"a": TWO["a"], "b": TWO["b"][:2]}
        circuit = apical.trace(lambda p, x, y: two_layers(p, x, y, operation))
        return circuit(params, X, Y).nodes[0].unit

    assert not is_unit(pooled)
    assert not is_unit(lambda h: pooled(jnp.tanh(h)))
    assert is_unit(lambda h: jnp.tanh(pooled(h)))
    assert is_unit(lambda h: jnp.tanh(pooled(h)) / 4)


# -------------------------------------------------- 10: no equilibrium, or not reached


def test_10_values_that_do_not_settle_are_reported():
    def settling(**options):
        rule = PredictiveCoding(prediction="free", **options)
        learner = apical.value_and_grad(two_layers, rule)
        params = jax.tree.map(lambda w: 2 * w, TWO)
        return jax.jit(learner)(params, learner.init(KEY, params, X, Y), X, Y).info

    assert settling(steps=400, rate=0.02).settled
    for hasty in (settling(steps=20, rate=1.0), settling(steps=3, rate=0.02)):
        assert not hasty.settled
        assert not hasty.residual < 1e-3


# -------------------------------------------------------------- 11: nodes apart


def test_11_weights_above_move_a_local_update_unless_the_stream_is_a_node():
    def loss_fn(params, x):
        stream = x @ params["embed"]
        for i, (up, down) in enumerate(params["blocks"]):
            h = jax.nn.standardize(stream) @ up
            stream = stream + apical.node(jnp.tanh(h), f"hidden{i}") @ down
        return jnp.mean((stream @ params["out"]) ** 2)

    blocks = [(normal(i, 4, 5), normal(i + 5, 5, 4)) for i in range(2)]
    params = {"embed": normal(9, 3, 4), "blocks": blocks, "out": normal(8, 4, 2)}
    above = params | {"blocks": [blocks[0], (-blocks[1][0], blocks[1][1])]}

    def local_update(nodes):
        circuit = apical.trace(loss_fn, nodes=nodes)(params, X)

        @jax.jit
        @jax.grad
        def update(params):
            sites = circuit.run(params, (X,), tap="stop").sites
            return sum(jnp.sum((site - 0.5) ** 2) for site in sites.values())

        before, after = update(params), update(above)
        return circuit, before["embed"], after["embed"]

    circuit, before, after = local_update("marked")
    assert not circuit.separated
    assert distance(after, before) > 0.1
    with pytest.raises(ValueError, match=r"separated nodes.*nodes='entry'"):
        PredictiveCoding().init(circuit, KEY, params, (X,))
    circuit, before, after = local_update("entry")
    assert circuit.separated
    np.testing.assert_array_equal(before, after)
    assert np.any(before)
