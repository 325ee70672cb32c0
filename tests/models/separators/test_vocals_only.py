"""Demucs for vocals alone against the whole network."""

import pytest
import torch
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs

from lyrics_asr.models.separators.vocals_only import vocals_only
from tests.models.separators.test_demucs import SEGMENT_SAMPLES, SOURCES, song, tiny_network


@pytest.mark.parametrize("kind", [HTDemucs, HDemucs])
@pytest.mark.parametrize("place", [0, 3])
def test_the_vocals_are_those_of_the_whole_network(kind, place):
    network = tiny_network(kind=kind)
    network.sources = [*SOURCES[1:-1], "drums"]
    network.sources.insert(place, "vocals")
    mixture = song(SEGMENT_SAMPLES)[None]
    with torch.no_grad():
        found = vocals_only(network)(mixture)
        expected = network(mixture)[:, place]
    assert found.shape == (1, 1, 2, SEGMENT_SAMPLES)
    torch.testing.assert_close(found[:, 0], expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_weights_are_shared_and_gradients_are_those_of_the_whole_network():
    network = tiny_network()
    gradients = []
    for each, index in ((network, 3), (vocals_only(network), 0)):
        network.zero_grad()
        each(song(SEGMENT_SAMPLES)[None])[:, index].square().mean().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in network.named_parameters()})
    for name, expected in gradients[0].items():
        scale = float(expected.abs().max())
        torch.testing.assert_close(gradients[1][name], expected, rtol=0, atol=1e-4 * scale)
    assert len(network.sources) == 4
    assert network(song(SEGMENT_SAMPLES)[None]).shape[1] == 4


@pytest.mark.parametrize(
    "network",
    [
        tiny_network(kind=Demucs),
        tiny_network(cac=False, wiener_iters=0),  # the mask of a source depends on all of them
        tiny_network(norm_starts=0),  # a norm over all sources
    ],
    ids=["waveforms", "masks", "norms"],
)
def test_networks_whose_sources_depend_on_each_other_are_left_as_they_are(network):
    assert vocals_only(network) is network
