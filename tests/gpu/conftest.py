import pytest
import torch


@pytest.fixture(params=[pytest.param("cuda", marks=pytest.mark.gpu), "cpu"])
def device(request):
    """The GPU; the CPU where there is none, to run the same code."""
    if request.param == "cpu" and torch.cuda.is_available():
        pytest.skip("runs on the GPU")
    return torch.device(request.param)
