"""Notices that a separator has collapsed: one output is silent and the other is the mixture, or both are silent."""

from collections.abc import Mapping

SILENT_SHARE = 1e-3
"""Of the mixture's energy (-30 dB); an output with less is silent."""


class CollapseWatch:
    """Counts consecutive steps with a silent output.

    Args:
        limit: the number of steps that is too many.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._steps = {"vocals": 0, "accompaniment": 0}

    def update(self, report: Mapping[str, float]) -> str | None:
        """Count a step, and describe the collapse if there is one.

        Args:
            report: has "vocals energy" and "accompaniment energy", relative to the energy of the mixture.
        """
        shares = {name: report[f"{name} energy"] for name in self._steps}
        for name, share in shares.items():
            self._steps[name] = self._steps[name] + 1 if share < SILENT_SHARE else 0
        silent = [name for name, steps in self._steps.items() if steps >= self._limit]
        if not silent:
            return None
        seen = ", ".join(f"{name} {share:.2%}" for name, share in shares.items())
        what = "both outputs are silent" if len(silent) == 2 else f"the {silent[0]} are silent and the rest takes all"
        return (
            f"the separator has collapsed: {what} (energy relative to the mixture's: {seen}) for {self._limit} steps; "
            "start again from a checkpoint before that, with a lower learning rate of the separator, a lower "
            "adversarial.weight, more adversarial.discriminator_steps, or a separation_weight on cuts with stems"
        )

    def state_dict(self) -> dict[str, int]:
        """The counts."""
        return dict(self._steps)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue from counts."""
        self._steps = dict(state)
