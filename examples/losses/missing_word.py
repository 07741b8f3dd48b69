"""A context predicts its missing word: `python missing_word.py --rule NAME`.

    loss = -log q(word at a place | the other words of the sentence)

The sentences come from a small grammar with known probabilities, so that the exact
p(word | context) is known for every context, and with it the least possible loss: the
conditional entropy. No label is given: the sentence teaches itself.
"""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import affine, dense, fit, run

import apical

# A sentence: who, does, how, whom. Who decides what is done, and this decides to whom.
WHO = {"girl": 0.3, "boy": 0.3, "cat": 0.25, "dog": 0.15}
DOES = {
    "girl": {"reads": 0.5, "paints": 0.3, "feeds": 0.2},
    "boy": {"reads": 0.3, "paints": 0.2, "feeds": 0.5},
    "cat": {"chases": 0.7, "watches": 0.3},
    "dog": {"chases": 0.4, "watches": 0.6},
}
HOW = {"slowly": 0.5, "often": 0.3, "never": 0.2}
WHOM = {
    "reads": {"books": 0.8, "letters": 0.2},
    "paints": {"birds": 0.5, "houses": 0.4, "books": 0.1},
    "feeds": {"birds": 0.6, "mice": 0.4},
    "chases": {"birds": 0.3, "mice": 0.7},
    "watches": {"birds": 0.8, "houses": 0.2},
}
WORDS = sorted({*WHO, *HOW, *WHOM}.union(*WHOM.values()))


def sentences():
    """All sentences as numbers of words, [n, 4]; the probability of each, [n]."""
    found = {
        (who, does, how, whom): WHO[who] * DOES[who][does] * HOW[how] * WHOM[does][whom]
        for who, how in product(WHO, HOW)
        for does in DOES[who]
        for whom in WHOM[does]
    }
    numbers = [[WORDS.index(word) for word in sentence] for sentence in found]
    return np.array(numbers), np.array(list(found.values()))


def exact_posterior(context, place):
    """p(word at the place | the other words), over all words."""
    every, probability = sentences()
    others = np.arange(4) != place
    agree = (every[:, others] == np.asarray(context)[others]).all(-1)
    found = np.bincount(every[agree, place], probability[agree], len(WORDS))
    return found / found.sum()


def least_loss():
    """The conditional entropy of a word at a random place, in nats."""
    every, probability = sentences()
    of = lambda s, place: -np.log(exact_posterior(s, place)[s[place]])  # noqa: E731
    each = [np.mean([of(sentence, place) for place in range(4)]) for sentence in every]
    return float(probability @ each)


def network(key, hidden=48):
    """Initial parameters; a context is four places of one word each or none."""
    keys = jax.random.split(key, 3)
    return {
        "embed": dense(keys[0], 4 * (len(WORDS) + 1), hidden, scale=4.0),
        "hidden": dense(keys[1], hidden, hidden),
        "out": dense(keys[2], hidden, len(WORDS)),
    }


def logits(params, context):
    """One logit for each word, from contexts of one-hot words, [n, 4, WORDS + 1]."""
    h = jnp.tanh(affine(params["embed"], context.reshape(len(context), -1)))
    return affine(params["out"], jnp.tanh(affine(params["hidden"], h)))


def loss_fn(params, context, word):
    """The cross-entropy of the missing word, in nats."""
    scores = logits(params, context)
    return optax.softmax_cross_entropy_with_integer_labels(scores, word).mean()


# For the rules that use them: the target of the output, and the input.
DESCRIPTION = {
    "target": lambda context, word: jax.nn.one_hot(word, len(WORDS)),
    "input_argnums": 0,
}


def without(sentence, place):
    """The contexts of sentences [n, 4] without the word at a place [n]; that word."""
    rows = jnp.arange(len(sentence))
    context = sentence.at[rows, place].set(len(WORDS))
    return jax.nn.one_hot(context, len(WORDS) + 1), sentence[rows, place]


def main(rule, updates=4000, batch=64):
    """Train by a rule; print the loss beside the least one, and a few predictions."""
    every, probability = map(jnp.array, sentences())

    def draw(key):
        which, where = jax.random.split(key)
        chosen = jax.random.choice(which, len(every), (batch,), p=probability)
        return without(every[chosen], jax.random.randint(where, (batch,), 0, 4))

    before = network(jax.random.key(0))
    adam = optax.adam(optax.cosine_decay_schedule(1e-2, updates))
    step = apical.train_step(loss_fn, rule, adam, **DESCRIPTION)
    params, _ = fit(step, jax.random.key(1), before, draw, updates)

    def loss(params):
        total = 0.0
        for place in range(4):
            context, word = without(every, jnp.full(len(every), place))
            log_q = jax.nn.log_softmax(logits(params, context))
            total -= probability @ log_q[jnp.arange(len(every)), word] / 4
        return float(total)

    start, end, least = loss(before), loss(params), least_loss()
    print(f"loss {start:.3f} -> {end:.3f} nats; least {least:.3f}")
    for text, place in (("girl _ often birds", 1), ("_ chases never mice", 0)):
        words = text.replace("_", "girl").split()
        numbers = jnp.array([[WORDS.index(word) for word in words]])
        context, _ = without(numbers, jnp.array([place]))
        chance = np.array(jax.nn.softmax(logits(params, context))[0])
        exact = exact_posterior(numbers[0], place)
        likely = [i for i in np.argsort(-exact) if exact[i] > 0]
        said = ", ".join(f"{WORDS[i]} {chance[i]:.2f} ({exact[i]:.2f})" for i in likely)
        print(f"{text}: {said}")
    return end, least


if __name__ == "__main__":
    run(main)
