"""How long a training still takes, from what this attempt has measured of itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.schedule import Schedule


@dataclass(frozen=True)
class Pace:
    """What steps and validations of this attempt took.

    Attributes:
        steps: finished in this attempt.
        step_seconds: what they took in all.
        validations: made in this attempt.
        validation_seconds: what they took in all.
        validates: whether there is anything to validate on.
    """

    steps: int = 0
    step_seconds: float = 0.0
    validations: int = 0
    validation_seconds: float = 0.0
    validates: bool = True

    def after_step(self, seconds: float) -> Pace:
        """With one more step."""
        return replace(self, steps=self.steps + 1, step_seconds=self.step_seconds + seconds)

    def after_validation(self, seconds: float) -> Pace:
        """With one more validation."""
        return replace(
            self,
            validations=self.validations + 1,
            validation_seconds=self.validation_seconds + seconds,
        )

    def seconds_left(self, step: int, schedule: Schedule) -> float:
        """Seconds until the last validation, at the mean pace so far.

        A validation counts nothing before the first one has shown what it takes.

        Args:
            step: finished steps, in all attempts; at least one of them in this one.
            schedule: the training's lengths.
        """
        steps = (schedule.total_steps - step) * self.step_seconds / self.steps
        if not self.validates or not self.validations:
            return steps
        mean = self.validation_seconds / self.validations
        return steps + validations_left(step, schedule) * mean


def validations_left(step: int, schedule: Schedule) -> int:
    """Validations that follow after `step` is finished, its own and the last step's included."""
    every, total = schedule.validation_steps, schedule.total_steps
    due = total // every - (step - 1) // every
    return due + (1 if total % every else 0)
