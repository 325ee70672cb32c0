"""Which products and convolutions of float32 a GPU rounds to the 10 bits of TF32."""

from dataclasses import replace

import pytest
import torch

from lyrics_asr.models.precision import computing_in
from lyrics_asr.training.processes import create_accelerator

CUDA = torch.device("cuda")
TOLERANCE = 1e-4
"""Between the largest error of float32, near 1e-6, and that of TF32, near 1e-3."""

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0), reason="this GPU has no TF32"
    ),
]


@pytest.fixture(autouse=True)
def tf32(monkeypatch):
    """PyTorch's own settings, restored after the test."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    yield
    torch.set_float32_matmul_precision("highest")


def error(multiply, *factors):
    """The largest error of a product in float32, relative to its standard deviation."""
    exact = multiply(*(each.double() for each in factors))
    return float((multiply(*factors) - exact).abs().max() / exact.std())


def error_of_product():
    return error(torch.matmul, *torch.randn(2, 512, 512, device=CUDA))


def error_of_convolution():
    signal, kernel = torch.randn(4, 64, 4000, device=CUDA), torch.randn(64, 64, 9, device=CUDA)
    return error(torch.nn.functional.conv1d, signal, kernel)


def test_float32_at_inference_is_not_rounded():
    assert error_of_convolution() > TOLERANCE
    with computing_in("float32", CUDA):
        assert error_of_convolution() < TOLERANCE
        assert error_of_product() < TOLERANCE
    assert error_of_convolution() > TOLERANCE


@pytest.mark.parametrize(("precision", "is_rounded"), [("fp32", False), ("tf32", True)])
def test_training_rounds_if_asked_to(training_config, precision, is_rounded):
    create_accelerator(replace(training_config, precision=precision))
    assert (error_of_product() > TOLERANCE) == is_rounded
    assert (error_of_convolution() > TOLERANCE) == is_rounded
