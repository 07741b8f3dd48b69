"""Check that a convolutional model reads images with the channels first.

A model that expects the channels last accepts `(examples, channels, height, width)`
without an error and learns badly. The shape of its first kernel reveals it.
"""

import math

from apical import Circuit
from apical.lab._errors import LabError
from apical.lab.data._dataset import Data


def layout_note(data: Data) -> str:
    """A sentence on the axes of images; empty for other data."""
    if data.kind != "pictures":
        return ""
    channels, height, width = data.shape
    return (
        f"Pictures come as {data.axes}. For a library that expects the channels last, "
        f"pass jnp.moveaxis(x, 1, -1), of the shape (examples, {height}, {width}, "
        f"{channels}), when it is initialised and when it is called"
    )


def check_layout(circuit: Circuit, data: Data, name: str) -> None:
    """Refuse a model whose first kernel takes the columns of an image for channels.

    Args:
        circuit: of the model's loss.
        data: what the model reads.
        name: the model's name, for messages.

    Raises:
        LabError: if the first synapse convolves as many channels as an image has
            columns, and images have another number of channels.
    """
    first = next(iter(circuit.synapses), None)
    if data.kind != "pictures" or first is None or len(first.shape) != 4:
        return
    (channels, _, width), convolved = data.shape, math.prod(first.shape)
    if first.operation == "conv_general_dilated":
        convolved //= first.fan_out
        if convolved == width != channels:
            raise LabError(
                f"{name}: the kernel {first.name!r} is made for {width} channels, and "
                f"pictures of {data.name} have {channels} channels and {width} columns "
                f"(in {first.scope or first.where}). {layout_note(data)}"
            )
