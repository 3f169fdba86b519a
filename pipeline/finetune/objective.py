"""What one step makes smaller: the losses that the settings name, each with its weight.

Made once before training. All that a step needs from a batch is moved to the device when the
batch is known; what comes back is a function of the batch's vectors alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from pipeline.errors import BadRecipe
from pipeline.finetune.batches import ONE, Batch
from pipeline.finetune.losses import (
    embedding_distance,
    info_nce,
    margin_mse,
    multi_positive_info_nce,
    score_divergence,
    triplet,
)
from pipeline.finetune.teacher import PairTeacher, TeacherVectors
from pipeline.profiles import Profile
from pipeline.settings import EncoderSettings, FinetuneSettings

OF_VECTORS = frozenset({"cosine", "mse"})
"""Values of `finetune.distillation.loss` that compare vectors; the others compare scores."""


@dataclass(frozen=True)
class LossParts:
    """A batch's loss.

    Attributes:
        total: the weighted sum, a scalar with its graph.
        parts: what it consists of by name, scalars without weights and graph.
    """

    total: torch.Tensor
    parts: Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Teaching:
    """What a teacher says for distillation: one of both, by `finetune.distillation.loss`.

    Attributes:
        targets: vectors to come near to, of the student's width.
        scores: of the training set's pairs.
    """

    targets: TeacherVectors | None = None
    scores: PairTeacher | None = None


LossOf = Callable[[torch.Tensor], LossParts]


@dataclass(frozen=True)
class _Term:
    """One loss: of (rows, passages) similarities, or of (texts, dimension) vectors."""

    name: str
    weight: float
    loss: Callable[[torch.Tensor], torch.Tensor]


class Objective:
    """The loss of a batch, by the settings.

    Losses of similarities are taken at every cut of the vectors and averaged over the cuts:
    Matryoshka Representation Learning (Kusupati et al., 2022) with weights of 1/n, so that loss
    and gradient keep their size however many cuts there are. Losses of vectors see them whole.
    """

    def __init__(
        self,
        settings: FinetuneSettings,
        cuts: tuple[int, ...] = (),
        teaching: Teaching | None = None,
        normalize: bool = True,
    ) -> None:
        """Make the loss of a training.

        Args:
            settings: which losses, with which weights.
            cuts: leading dimensions at which vectors are compared, see `matryoshka_cuts`; none:
                whole vectors only.
            teaching: what distillation needs.
            normalize: whether cut vectors are scaled to length 1 again.
        """
        self._settings = settings
        self._cuts = cuts
        self._teaching = teaching or Teaching()
        self._normalize = normalize

    def of(self, batch: Batch, device: torch.device) -> LossOf:
        """The loss of one batch.

        Args:
            batch: which texts, and which of them count for which.
            device: where the vectors will be.

        Returns:
            A function of the vectors, (texts, dimension), in the order of `Batch.texts`.
        """
        rows = batch.row_query.to(device)
        of_similarities = list(self._of_similarities(batch, device))
        of_vectors = list(self._of_vectors(batch, device))

        def loss_of(vectors: torch.Tensor) -> LossParts:
            weighted: list[torch.Tensor] = []
            parts: dict[str, torch.Tensor] = {}
            similarities = self._similarities(vectors, rows, len(batch.queries))
            for term in of_similarities:
                losses = {width: term.loss(values) for width, values in similarities.items()}
                mean = torch.stack(list(losses.values())).mean()
                weighted.append(term.weight * mean)
                parts[term.name] = mean.detach()
                for width, loss in losses.items() if self._cuts else ():
                    parts[f"{term.name}_at_{width}"] = loss.detach()
            for term in of_vectors:
                loss = term.loss(vectors)
                weighted.append(term.weight * loss)
                parts[term.name] = loss.detach()
            return LossParts(torch.stack(weighted).sum(), parts)

        return loss_of

    def teaches(self, batch: Batch) -> bool:
        """Whether a batch has what at least one of the losses needs.

        InfoNCE needs a negative, triplets and margins a mined one, a ranking two passages of a
        row; vectors need nothing beside them.
        """
        settings, taught = self._settings, self._settings.distillation
        ranked = batch.positives | batch.mined
        return bool(
            (settings.contrastive_weight and batch.negatives)
            or (settings.triplet.weight and batch.mined.any())
            or (taught.weight and taught.loss in OF_VECTORS)
            or (taught.weight and taught.loss == "margin_mse" and batch.mined.any())
            or (taught.weight and taught.loss == "kl" and (ranked.sum(dim=1) > 1).any())
        )

    def _similarities(
        self, vectors: torch.Tensor, rows: torch.Tensor, queries: int
    ) -> dict[int, torch.Tensor]:
        """(rows, passages) by the width at which vectors are compared."""
        found: dict[int, torch.Tensor] = {}
        for width in self._cuts or (vectors.shape[1],):
            cut = shortened(vectors, width, self._normalize)
            found[width] = cut[:queries][rows] @ cut[queries:].T
        return found

    def _of_similarities(self, batch: Batch, device: torch.device) -> Iterator[_Term]:
        settings = self._settings
        if settings.contrastive_weight:
            loss = self._contrastive(batch, device)
            yield _Term("contrastive", settings.contrastive_weight, loss)
        if settings.triplet.weight:
            row, positive, negative = batch.triplets().to(device).unbind(dim=1)
            margin = settings.triplet.margin
            yield _Term(
                "triplet",
                settings.triplet.weight,
                lambda s: triplet(s[row, positive], s[row, negative], margin),
            )
        if settings.distillation.weight and settings.distillation.loss not in OF_VECTORS:
            compare = self._margins if settings.distillation.loss == "margin_mse" else self._ranks
            yield _Term("distillation", settings.distillation.weight, compare(batch, device))

    def _contrastive(
        self, batch: Batch, device: torch.device
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        temperature, form = self._settings.temperature, self._settings.positives
        if form == ONE:
            positive, allowed = batch.positive.to(device), batch.allowed.to(device)
            return lambda s: info_nce(s, positive, allowed, temperature)
        positives = batch.positives.to(device)
        negatives = batch.allowed.to(device) & ~positives
        return lambda s: multi_positive_info_nce(s, positives, negatives, temperature, form)

    def _margins(
        self, batch: Batch, device: torch.device
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        found = batch.triplets()
        better, worse = (self._taught(batch, found[:, 0], found[:, side]) for side in (1, 2))
        margins = (better - worse).to(device) / self._settings.distillation.teacher_temperature
        row, positive, negative = found.to(device).unbind(dim=1)
        return lambda s: margin_mse(s[row, positive] - s[row, negative], margins)

    def _ranks(self, batch: Batch, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
        columns, members = batch.groups()
        row, _ = members.nonzero(as_tuple=True)
        scores = torch.zeros(columns.shape)
        scores[members] = self._taught(batch, row, columns[members])
        columns, members, scores = columns.to(device), members.to(device), scores.to(device)
        temperature = self._settings.temperature
        softer = self._settings.distillation.teacher_temperature
        return lambda s: score_divergence(
            s.gather(1, columns), scores, members, temperature, softer
        )

    def _taught(self, batch: Batch, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        """(pairs,) the teacher's scores of rows and columns side by side."""
        assert self._teaching.scores is not None
        queries = [batch.queries[place] for place in batch.row_query[row].tolist()]
        passages = [batch.passages[place] for place in column.tolist()]
        return torch.from_numpy(self._teaching.scores.pairs(queries, passages))

    def _of_vectors(self, batch: Batch, device: torch.device) -> Iterator[_Term]:
        settings = self._settings.distillation
        if settings.weight and settings.loss in OF_VECTORS:
            assert self._teaching.targets is not None
            taught = self._teaching.targets.of(batch.queries, batch.passages)
            targets = torch.from_numpy(taught).to(device)
            yield _Term(
                "distillation",
                settings.weight,
                lambda vectors: embedding_distance(vectors, targets, settings.loss),
            )


def shortened(vectors: torch.Tensor, width: int, normalize: bool) -> torch.Tensor:
    """The leading dimensions of vectors, (n, width); all of them are left as they are."""
    if width == vectors.shape[1]:
        return vectors
    cut = vectors[:, :width]
    return functional.normalize(cut, dim=1) if normalize else cut


def matryoshka_cuts(
    settings: FinetuneSettings, encoder: EncoderSettings, profile: Profile
) -> tuple[int, ...]:
    """The widths at which vectors are trained, largest first; none where Matryoshka is off.

    Whole vectors are always among them: they are what is used where nothing is cut.

    Raises:
        BadRecipe: there is no dimension to cut at, or one is larger than the model's.
    """
    if not settings.matryoshka:
        return ()
    whole = encoder.dimension or profile.dimension
    asked = settings.matryoshka_dimensions or profile.matryoshka
    if max(asked, default=0) > profile.dimension:
        raise BadRecipe(
            f"finetune.matryoshka_dimensions holds {max(asked)}, but {profile.id} has only "
            f"{profile.dimension}.",
            safe="Nothing was changed.",
            next_step=f"Name dimensions below {whole}.",
        )
    cuts = {width for width in asked if width < whole}
    if not cuts:
        raise BadRecipe(
            f"finetune.matryoshka is on, but there is no dimension below {whole} to cut at: "
            f"{profile.id} names none.",
            safe="Nothing was changed.",
            next_step="Set finetune.matryoshka_dimensions, for example to "
            f"[{whole // 4}, {whole // 2}].",
        )
    return tuple(sorted({*cuts, whole}, reverse=True))
