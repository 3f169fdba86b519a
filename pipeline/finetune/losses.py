"""What training makes smaller: pure functions of similarities and index matrices.

Each is 0 with zero gradients where it has no items, and all but `cosent` are means over their
items, so that weights between them don't depend on the batch size. None draws random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch.nn import functional


def info_nce(
    similarity: torch.Tensor,
    positive: torch.Tensor,
    allowed: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """InfoNCE: how unlikely a softmax over the allowed passages makes each query's positive.

    mean over i of -log( exp(s[i, p(i)] / t) / sum over allowed j of exp(s[i, j] / t) ), equation
    4 of van den Oord et al., "Representation Learning with Contrastive Predictive Coding"
    (2018), with cosine similarities and a temperature as in the published recipe.

    A passage that is not allowed has no influence on the loss and gets no gradient from that
    query. A query with no other allowed passage adds 0.

    Args:
        similarity: (queries, passages), cosines.
        positive: (queries,) column of each query's positive.
        allowed: (queries, passages) booleans; true for the positive.
        temperature: what similarities are divided by, above 0.

    Returns:
        A scalar.
    """
    logits = (similarity.float() / temperature).masked_fill(~allowed, float("-inf"))
    return functional.cross_entropy(logits, positive)


def _each(logits: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    """The mean over a row's positives p of -log( exp(l[p]) / (exp(l[p]) + sum of exp(l[n])) ).

    InfoNCE of each positive against the negatives n, never against another positive. On the same
    passages this is what drawing one positive gives in expectation, without the noise.
    """
    losses = torch.logaddexp(_log_sum(logits, negatives).unsqueeze(1), logits) - logits
    return _over(losses, positives)


def _supervised(
    logits: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor
) -> torch.Tensor:
    """L_out, equation 2 of Khosla et al., "Supervised Contrastive Learning" (2020).

    The positives share the denominator, so they also compete, and a row ends at log of their
    number, reached where all are equally near.
    """
    return _over(_log_sum(logits, positives | negatives).unsqueeze(1) - logits, positives)


def _any(logits: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    """MIL-NCE of Miech et al., "End-to-End Learning of Visual Representations from Uncurated
    Instructional Videos" (2020): it is enough that some positives are near."""
    return _log_sum(logits, positives | negatives) - _log_sum(logits, positives)


_Form = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
_FORMS: Mapping[str, _Form] = {"each": _each, "supervised": _supervised, "any": _any}


def multi_positive_info_nce(
    similarity: torch.Tensor,
    positives: torch.Tensor,
    negatives: torch.Tensor,
    temperature: float,
    form: str,
) -> torch.Tensor:
    """InfoNCE of queries with several positives; with one it is `info_nce`, whatever the form.

    Args:
        similarity: (rows, passages), cosines.
        positives: (rows, passages) booleans, at least one in each row.
        negatives: (rows, passages) booleans, none of them a positive.
        temperature: what similarities are divided by, above 0.
        form: `each` against the negatives alone, `supervised` (Khosla et al., 2020) or `any`
            (Miech et al., 2020).

    Returns:
        A scalar: the mean over rows. A query counts once, however many positives it has.
    """
    return _FORMS[form](similarity.float() / temperature, positives, negatives).mean()


def triplet(positive: torch.Tensor, negative: torch.Tensor, margin: float) -> torch.Tensor:
    """mean of max(0, d(q, p) - d(q, n) + margin) with cosine distances d = 1 - s.

    Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering" (2015); on
    vectors of length 1 their squared Euclidean distance is 2 d, and their margin of 0.2 is 0.1
    here.

    Args:
        positive: (triplets,) similarity of query and positive.
        negative: (triplets,) similarity of query and negative.
        margin: by how much the positive is to be nearer.
    """
    return _mean(functional.relu(negative.float() - positive.float() + margin))


def margin_mse(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """MarginMSE: mean of (student's margin - teacher's margin) squared.

    Hofstätter et al., "Improving Efficient Neural Ranking Models with Cross-Architecture
    Knowledge Distillation" (2020). A margin is s(q, p) - s(q, n).

    Args:
        student: (triplets,) margins of the model in training.
        teacher: (triplets,) margins to come near to, in the same unit.
    """
    return _mean((student.float() - teacher.float()).square())


def score_divergence(
    student: torch.Tensor,
    teacher: torch.Tensor,
    members: torch.Tensor,
    temperature: float,
    teacher_temperature: float,
) -> torch.Tensor:
    """KL divergence between the teacher's and the student's softmax over each query's group.

    Hinton et al., "Distilling the Knowledge in a Neural Network" (2015), on rankings as in Ren et
    al., "RocketQAv2" (2021). Without Hinton's factor of temperature squared: InfoNCE
    beside it has the same temperature and no such factor either (so has BGE M3, Chen et al.,
    2024), which keeps the weight between the two what it says.

    Args:
        student: (rows, width) similarities.
        teacher: (rows, width) scores.
        members: (rows, width) booleans: groups are ragged; a group of one or none adds 0.
        temperature: of the student.
        teacher_temperature: of the teacher.

    Returns:
        A scalar: the mean over rows.
    """
    if not members.numel():
        return student.sum() * 0.0
    low = torch.finfo(torch.float32).min
    ours = (student.float() / temperature).masked_fill(~members, low).log_softmax(dim=1)
    theirs = (teacher.float() / teacher_temperature).masked_fill(~members, low).log_softmax(dim=1)
    difference = torch.where(members, theirs - ours, 0.0)
    return (theirs.exp() * difference).sum(dim=1).mean()


def embedding_distance(vectors: torch.Tensor, targets: torch.Tensor, measure: str) -> torch.Tensor:
    """How far vectors are from the teacher's, as a mean over texts.

    `cosine`: 1 - cos. `mse`: mean over texts and dimensions of the squared difference, as in
    Reimers and Gurevych, "Making Monolingual Sentence Embeddings Multilingual using Knowledge
    Distillation" (2020).

    Args:
        vectors: (texts, dimension).
        targets: (texts, dimension).
        measure: `cosine` or `mse`.
    """
    if measure == "cosine":
        return _mean(1.0 - functional.cosine_similarity(vectors.float(), targets.float(), dim=1))
    return _mean((vectors.float() - targets.float()).square())


def cosent(similarity: torch.Tensor, scores: torch.Tensor, temperature: float) -> torch.Tensor:
    """CoSENT: pairs with a higher score are to be more similar than pairs with a lower one.

    log(1 + sum over pairs i, k with score i > score k of exp((s[k] - s[i]) / t)), from Huang et
    al., "CoSENT: Consistent Sentence Embedding via Similarity Ranking" (2024), where t is 0.05.
    Only the order of the scores counts. Pairs with equal scores throughout give 0.

    Args:
        similarity: (pairs,) cosines.
        scores: (pairs,) graded similarity, in any unit.
        temperature: what similarities are divided by, above 0.
    """
    logits = similarity.float() / temperature
    wrong = (logits.unsqueeze(0) - logits.unsqueeze(1))[scores.unsqueeze(1) > scores.unsqueeze(0)]
    return torch.logsumexp(torch.cat([wrong.new_zeros(1), wrong]), dim=0)


def contrastive_pairs(similarity: torch.Tensor, alike: torch.Tensor, margin: float) -> torch.Tensor:
    """Pairs of one class are drawn together, others pushed apart up to a margin.

    mean of (y d^2 + (1 - y) max(0, margin - d)^2) / 2 with d = 1 - s, equation 4 of Hadsell,
    Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping" (2006), with the
    cosine distance and the margin of 0.5 of Sentence-BERT's implementation.

    Args:
        similarity: (pairs,) cosines.
        alike: (pairs,) booleans, or 1 and 0.
        margin: the distance from which unlike pairs are far enough.
    """
    distance = 1.0 - similarity.float()
    same = alike.float()
    apart = functional.relu(margin - distance).square()
    return _mean(0.5 * (same * distance.square() + (1.0 - same) * apart))


def _log_sum(logits: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """(rows,) log of the sum of exp over members; the least float for none, so that nothing is
    NaN: minus infinity has no gradient."""
    return torch.logsumexp(logits.masked_fill(~members, torch.finfo(logits.dtype).min), dim=1)


def _over(values: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """(rows,) mean over each row's members."""
    return torch.where(members, values, 0.0).sum(dim=1) / members.sum(dim=1)


def _mean(values: torch.Tensor) -> torch.Tensor:
    """The mean, or 0 of nothing."""
    return values.sum() / max(1, values.numel())
