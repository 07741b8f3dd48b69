"""The page about the path kernel: its code runs, and its equations hold there."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from support.docs import names_after, page

import apical

PAGE = page("path-kernel")


@pytest.fixture(scope="module")
def names():
    return names_after(PAGE)


def test_the_contributions_are_the_change_of_the_predictions(names):
    found, network = names["found"], names["network"]
    after = network(found.params, names["x_test"])
    np.testing.assert_allclose(names["pulled"], after, atol=1e-5)
    before = network(names["params"], names["x_test"])
    assert jnp.linalg.norm(after - before) > 1
    assert found.loss[-1] < 0.3 * found.loss[0]


def test_the_prediction_that_is_drawn_is_the_first(names):
    largest = jnp.abs(names["change"][0]).argmax()
    assert names["axes"].get_yticklabels()[0].get_text() == str(largest)
    assert len(names["axes"].patches) == 7


def test_this_training_is_no_kernel_machine(names):
    assert 0.02 < names["miss"] / names["moved"] < 1


def test_the_fields_in_the_table_are_those_of_the_result():
    table = PAGE.split("| field |")[1].split("##")[0]
    told = {
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)", row)
    }
    kept = set(apical.measure.PathKernel.__dataclass_fields__)
    properties = {
        name
        for name, value in vars(apical.measure.PathKernel).items()
        if isinstance(value, property)
    }
    assert told == kept | properties
