import torch
from torch import nn

from lyrics_asr.training.weight_average import WeightAverage

DECAY = 0.5


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))


def trained(model, average, steps):
    """Steps in which only the first layer is trained, with the weights after each."""
    model[1].requires_grad_(False)
    weights = []
    for step in steps:
        with torch.no_grad():
            model[0].weight.add_(torch.randn(2, 3, generator=torch.Generator().manual_seed(step)))
        average.update(step)
        weights.append(model[0].weight.detach().clone())
    return weights


def test_the_average_is_the_sum_of_weights_by_their_age():
    model = network()
    average = WeightAverage(model, DECAY)
    first, *others = trained(model, average, range(1, 20))
    expected = first
    for step, weights in enumerate(others, start=2):
        decay = min(DECAY, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weights
    torch.testing.assert_close(average.state_dict()["0.weight"], expected)
    assert average.state_dict().keys() == {"0.weight", "0.bias"}  # frozen ones are those of the model


def test_the_average_is_lent_to_the_model_and_survives_a_resumption():
    model, twin = network(), network()
    average, resumed = WeightAverage(model, DECAY), WeightAverage(twin, DECAY)
    *_, last = trained(model, average, range(1, 4))
    with average.applied():
        lent = model[0].weight.detach().clone()
    assert torch.equal(lent, average.state_dict()["0.weight"])
    assert torch.equal(model[0].weight, last)

    twin.load_state_dict(model.state_dict())
    resumed.load_state_dict({name: value.clone() for name, value in average.state_dict().items()})
    trained(model, average, range(4, 7))
    trained(twin, resumed, range(4, 7))
    assert torch.equal(resumed.state_dict()["0.weight"], average.state_dict()["0.weight"])
