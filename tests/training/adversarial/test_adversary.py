"""A separator against discriminators: learning without pairs, and collapse."""

from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from lyrics_asr.models.separators.base import Separator
from lyrics_asr.models.separators.unet import UNetConfig, UNetSeparator
from lyrics_asr.training.adversarial.adversary import Adversary
from lyrics_asr.training.adversarial.collapse import CollapseWatch
from lyrics_asr.training.adversarial.options import AdversarialOptions
from lyrics_asr.training.adversarial.update import update_discriminators
from lyrics_asr.training.data.batch import Batch, Unpaired

OPTIONS = AdversarialOptions(
    "wasserstein", ["vocals"], ["rest"], discriminator_steps=2, learning_rate=2e-3, n_fft=64, patch_frames=8, filters=8
)
SAMPLES = OPTIONS.patch_samples


def sounds_of(source, rows):
    """Noise below or above a quarter of the sample rate, of varying loudness."""
    spectrum = torch.fft.rfft(torch.randn(rows, 1, SAMPLES))
    half = spectrum.shape[-1] // 2
    spectrum[..., half - 2 :] *= source == "accompaniment"
    spectrum[..., : half + 2] *= source == "vocals"
    return torch.fft.irfft(spectrum, n=SAMPLES) * (0.5 + torch.rand(rows, 1, 1))


def batch_of(sound):
    rows, nothing = len(sound), torch.zeros(0, dtype=torch.int64)
    spans, counts = torch.zeros(0, 2), torch.zeros(rows, dtype=torch.int64)
    lengths = torch.full((rows,), sound.shape[-1])
    return Batch(("row",) * rows, None, None, sound, lengths, nothing, spans, counts, nothing, spans, counts)


def unpaired_batch(rows=8):
    """Pairs of sources, with unpaired sources and mixtures of others; and the vocals of these mixtures."""
    vocals = sounds_of("vocals", rows)
    mixture = batch_of(vocals + sounds_of("accompaniment", rows))
    unpaired = tuple(
        Unpaired(batch_of(sounds_of("vocals", rows)), batch_of(sounds_of("accompaniment", rows)), mixture)
        for _ in range(OPTIONS.discriminator_steps)
    )
    stems = {name: sounds_of(name, rows) for name in ("vocals", "accompaniment")}
    return replace(mixture, **stems, unseparated=None, unpaired=unpaired), vocals


def separation_db(separator, seed=99):
    """SDR of the vocals."""
    torch.manual_seed(seed)
    batch, vocals = unpaired_batch(32)
    with torch.no_grad():
        error = separator(batch.unpaired[0].mixture.mixture) - vocals
    return float(10 * torch.log10(vocals.square().sum() / error.square().sum()))


def play(separator, adversary, steps, rate=3e-3):
    """A bare training loop on the adversarial loss alone."""
    optimizer, accelerator = torch.optim.Adam(separator.parameters(), rate, (0.5, 0.9)), Accelerator()
    for step in range(steps):
        torch.manual_seed(step)
        batch, _ = unpaired_batch()
        yield update_discriminators(accelerator, adversary, separator, [batch], (0, step)).metrics
        adversary.separator_losses(separator, batch).adversarial.backward()
        optimizer.step()
        optimizer.zero_grad()


def tiny_unet():
    torch.manual_seed(0)
    sizes = UNetConfig(8000, 1, n_fft=64, bins=32, patch_frames=8, channels=(4, 8), skip_connections=True)
    return UNetSeparator("tiny", sizes)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["wasserstein", "factor_gan"])
def test_sources_of_different_spectra_are_separated_without_their_mixtures(objective):
    separator = tiny_unet()
    before = separation_db(separator.eval())
    separator.train()
    for _ in play(separator, Adversary(replace(OPTIONS, objective=objective), torch.device("cpu")), 150):
        pass
    assert before < 5  # a mask of one half gives 3 dB
    assert separation_db(separator.eval()) > before + 6


def weights_after(adversary, batch):
    """The number of skipped discriminator steps of a training step, and the weights of the discriminators after it."""
    report = update_discriminators(Accelerator(), adversary, tiny_unet(), [batch], (0,))
    return report.skipped, torch.cat([each.detach().flatten() for each in adversary.objective.parameters()])


def test_a_discriminator_step_that_is_not_finite_is_skipped_and_counted():
    torch.manual_seed(0)
    batch, _ = unpaired_batch()
    good, bad = batch.unpaired
    bad.vocals.mixture[0, 0, :] = torch.nan
    adversary = Adversary(OPTIONS, torch.device("cpu"))
    skipped, after_good = weights_after(adversary, replace(batch, unpaired=(good, good)))
    assert skipped == 0
    skipped, after_one = weights_after(adversary, replace(batch, unpaired=(good, bad)))
    assert skipped == 1
    assert not torch.equal(after_one, after_good)
    skipped, after_none = weights_after(adversary, replace(batch, unpaired=(bad, bad)))
    assert skipped == 2
    assert torch.equal(after_none, after_one)


def test_a_batch_of_one_row_has_no_shuffled_pairs_and_trains_no_discriminator():
    torch.manual_seed(0)
    adversary = Adversary(replace(OPTIONS, objective="factor_gan"), torch.device("cpu"))
    before = [each.detach().clone() for each in adversary.objective.parameters()]
    skipped, after = weights_after(adversary, unpaired_batch(rows=1)[0])
    assert skipped == OPTIONS.discriminator_steps
    assert torch.equal(after, torch.cat([each.flatten() for each in before]))
    assert weights_after(adversary, unpaired_batch(rows=2)[0])[0] == 0


class AllIsAccompaniment(Separator):
    """A separator whose vocals fall silent, whatever it learns."""

    def __init__(self):
        super().__init__("all is accompaniment", [nn.Linear(1, 1)], 8000, 1)

    def forward(self, mixture):
        return 1e-3 * self.networks[0](mixture[..., None])[..., 0]

    def separate(self, mixtures, options, progress=None):
        raise NotImplementedError

    def block_grid(self, options):
        return 1, 0

    @property
    def settings(self):
        return {}


def test_a_collapse_is_noticed_after_the_given_number_of_steps_and_described():
    adversary = Adversary(replace(OPTIONS, collapse_steps=3), torch.device("cpu"))
    found = [adversary.watch.update(report) for report in play(AllIsAccompaniment(), adversary, 4)]
    assert found[:2] == [None, None]
    assert "the vocals are silent and the rest takes all (energy relative to the mixture's: vocals 0.00%," in found[2]
    assert "for 3 steps; start again from a checkpoint before that, with a lower learning rate" in found[2]


def test_a_separator_that_works_has_not_collapsed():
    watch = CollapseWatch(1)
    assert watch.update({"vocals energy": 0.002, "accompaniment energy": 0.998}) is None
    assert "both outputs are silent" in watch.update({"vocals energy": 1e-4, "accompaniment energy": 0.0})


def test_steps_that_are_silent_now_and_then_are_no_collapse():
    watch = CollapseWatch(2)
    silent, sound = ({"vocals energy": share, "accompaniment energy": 1.0} for share in (0.0, 0.5))
    assert [watch.update(each) for each in (silent, sound, silent)] == [None] * 3
    resumed = CollapseWatch(2)
    resumed.load_state_dict(watch.state_dict())
    assert resumed.update(silent) is not None


def test_outputs_that_add_up_to_the_mixture_have_no_additive_loss_and_silence_has_one():
    torch.manual_seed(0)
    low = Unpaired(*[batch_of(sounds_of("vocals", 2))] * 3)  # in the bins that the U-Net divides
    batch = replace(low.mixture, unpaired=(low,))
    adversary, separator = Adversary(OPTIONS, torch.device("cpu")), tiny_unet()
    assert float(adversary.separator_losses(separator, batch).additive.detach()) == pytest.approx(0, abs=1e-3)
    separator.stems = lambda mixture: torch.zeros(2, *mixture.shape)
    assert float(adversary.separator_losses(separator, batch).additive) == pytest.approx(1)
    separator.stems = lambda mixture: torch.stack([0.5 * mixture, 0 * mixture])
    assert float(adversary.separator_losses(separator, batch).additive) == pytest.approx(0.25)
