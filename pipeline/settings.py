"""The settings that a user may change, each with its default, one table a section.

The defaults are those of NVIDIA's published embedding recipe unless a comment says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field

BASE_TEACHER = "base"
"""The name of the base model as a teacher in training."""

PYTHON_PROBE = "python"
"""The name of the probe that every machine has: docstrings of Python's standard library."""

FILES = (
    "prep.teacher",
    "prep.reranker",
    "finetune.probe",
    "finetune.false_negatives.teacher",
    "finetune.distillation.teacher",
    "finetune.tasks.retrieval",
    "finetune.tasks.sts",
    "finetune.tasks.classification",
)
"""Settings that name files or folders, or may; a relative path begins at the run's folder."""


@dataclass(frozen=True)
class CorpusSettings:
    """Documents to passages."""

    source: str = ""
    """A folder of documents, a file or folder of ready passages (CSV, JSONL), a BEIR folder,
    NVIDIA SDG output, a Hugging Face dataset (`hf://`), or `pydoc`."""
    include: tuple[str, ...] = ()
    """Only files whose path matches one of these globs; none: all. Ours, as all that follow to
    `text_field`."""
    exclude: tuple[str, ...] = ()
    """Not the files whose path matches one of these globs."""
    encoding: str = "cp1252"
    """Of files that are neither marked nor UTF-8."""
    file_megabytes_max: int = 20
    """Larger files are skipped."""
    pdf_pages_max: int = 2000
    """PDF files of more pages are skipped."""
    text_field: str = ""
    """The column or field that holds a ready passage; empty: the usual names are tried."""
    documents: int = 0
    """The pilot slice: so many documents, chosen by `seed`; 0 takes all."""
    tokenizer: str = "nvidia/llama-nemotron-embed-1b-v2"
    """The profile whose tokenizer measures passages; part of the corpus's identity."""
    passage_tokens: int = 300
    """Where a passage is full and the next block starts another one."""
    passage_tokens_max: int = 480
    """No passage is longer: room for prefix and special tokens below 512."""
    document_characters_min: int = 50
    """Shorter documents are skipped."""
    near_duplicate_containment: float = 0.8
    """Share of one document's word 5-grams in another that puts both into one group."""


@dataclass(frozen=True)
class SdgSettings:
    """Passages to judged questions."""

    writer: str = "endpoint"
    """`endpoint` asks an LLM; `offline` writes without one (rehearsals)."""
    base_url: str = "https://integrate.api.nvidia.com/v1"
    model: str = "nvidia/nemotron-3-nano-30b-a3b"
    successor: str = "nvidia/nemotron-3.5-lightning-30b-a3b"
    """Proposed where the endpoint no longer serves `model`."""
    judge_model: str = ""
    """Empty: the writing model judges too."""
    key_variable: str = "NVIDIA_API_KEY"
    """The environment variable that holds the key; never the key itself."""
    questions_per_document: int = 7
    """For a document of `document_passages` passages; scaled by length."""
    document_passages: int = 10
    """The length, in passages, at which a document gets `questions_per_document`. Ours."""
    complexity_min: int = 2
    complexity_max: int = 5
    hops_min: int = 1
    hops_max: int = 3
    cross_document_share: float = 0.3
    """Of the multi-hop questions, how many rest on two documents of one fold. Ours."""
    styles: tuple[str, ...] = ("question", "keyword", "symptom", "terse")
    """The ways of asking that are dealt out; see `pipeline.sdg.plan`. Ours."""
    threshold: float = 7.0
    """The first quality threshold, of 10; moving it later is a decision."""
    weight_answerable: float = 3.0
    """What each of the judge's criteria counts in the score; another weight costs no call. Ours."""
    weight_supported: float = 3.0
    weight_standalone: float = 2.0
    weight_specific: float = 2.0
    weight_natural: float = 1.0
    rank_with: str = "base"
    """What ranks the evidence for each question: `base` (the base model, and BM25) or `bm25`."""
    rounds: int = 1
    """Rounds of writing. Each one after the first asks anew about what came out empty, or goes on
    to `target`. Ours, as all that follow to `avoid`."""
    target: int = 0
    """So many questions that pass are enough; 0: one pass over the corpus."""
    calls_max: int = 0
    """No more calls than these are made for a result; 0: as many as it takes."""
    attempts: int = 2
    """How often a damaged reply is asked for before its questions are parked."""
    avoid: tuple[str, ...] = ()
    """Rejected questions with reasons, each as `ROUND: text`: told to the writer from that round
    on, so that earlier rounds stay paid."""
    duplicate_similarity: float = 0.9
    """Questions at least so alike are one."""
    temperature: float = 0.6
    top_p: float = 0.95
    audience: str = ""
    """Who asks, for the writing prompt. Ours, as the two that follow."""
    language: str = ""
    """Of questions and answers; empty: each document's own."""
    examples: tuple[str, ...] = ()
    """Real queries of the audience, as examples of style."""
    concurrency: int = 32
    """Calls in flight at most; fewer where rate and latency need no more. Ours."""
    requests_per_minute: float = 0.0
    """The rate to begin with, learned from then on; 0: what the host is known for. Ours."""
    timeout_seconds: float = 120.0
    price_in: float = 0.0
    """For a million tokens sent, in any currency; 0: no cost is told. Ours."""
    price_out: float = 0.0
    """For a million tokens received."""


@dataclass(frozen=True)
class EncoderSettings:
    """How texts become vectors: one rule for mining, training, evaluation and serving."""

    query_tokens: int = 512
    passage_tokens: int = 512
    batch_size: int = 32
    """Texts a forward pass outside of training. Ours."""
    dimension: int = 0
    """Keep so many leading dimensions (Matryoshka); 0 keeps all."""
    instruction: str = ""
    """What the model is told about the task, where its profile takes that; empty: the profile's
    own."""


@dataclass(frozen=True)
class PrepSettings:
    """Kept samples to training data."""

    hard_negatives: int = 5
    """Negatives mined a query."""
    positive_percentage: float = 0.95
    """A candidate above this share of the lowest positive's score is no negative."""
    search_depth: int = 100
    """Candidates looked at for each query before they are filtered. Ours."""
    rule: str = "percentage"
    """`top`, `shifted`, `absolute`, `margin` or `percentage`: see `pipeline.mining.rules`. Ours, as
    all that follow."""
    positive_margin: float = 0.05
    """By the rule `margin` a candidate must score so much less than the lowest positive."""
    score_max: float = 0.7
    """By the rule `absolute` no candidate above this score is a negative."""
    skip: int = 10
    """By the rule `shifted` so many of the best candidates are passed over."""
    sample_from: int = 0
    """Draw the negatives from so many of the best that the rule leaves; 0: take the best."""
    exclude: str = "text"
    """What a positive keeps from being a negative: its `text`, all of its `document`, or all of
    the `group` of near-duplicate documents."""
    duplicate_similarity: float = 0.0
    """Passages at least so alike to a positive (cosine) are no negatives; 0: any may be."""
    teacher: str = ""
    """The profile, or sentence-transformers folder, that mines; empty: the base model."""
    reranker: str = ""
    """A folder with a cross-encoder; it scores the `search_depth` best candidates anew."""


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters instead of all weights (`[finetune.lora]`)."""

    rank: int = 0
    """Columns of an adapter; 0 trains all weights."""
    alpha: float = 32.0
    """An adapter's product counts alpha / rank."""
    dropout: float = 0.0
    """Of what goes into an adapter, in training."""
    modules: tuple[str, ...] = ()
    """Names of the linear layers that get one; none: those of the architecture."""


@dataclass(frozen=True)
class WarmupSettings:
    """Training on bare passages before (`[finetune.warmup]`)."""

    objective: str = "none"
    """`none`, `mlm` or `tsdae` for encoders with a mask token, `pairs` for any encoder."""
    epochs: int = 1
    learning_rate: float = 3e-5
    """TSDAE's; decays like that of the training."""
    batch_size: int = 16
    """Passages or pairs a step. Ours: TSDAE used 8, pairs learn from more."""
    checkpoint_steps: int = 200
    """Steps between two checkpoints of the warm-up."""


@dataclass(frozen=True)
class FalseNegativeSettings:
    """Suspected answers among the negatives (`[finetune.false_negatives]`)."""

    teacher: str = ""
    """Whose scores tell: `base` for the base model, a profile, or a sentence-transformers folder;
    empty masks known answers only."""
    margin: float = 0.05
    """A passage above s - margin * |s| is no negative, s being the positive's score. NV-Retriever's
    95 %, as in mining."""


@dataclass(frozen=True)
class TripletSettings:
    """The triplet loss over mined negatives (`[finetune.triplet]`)."""

    weight: float = 0.0
    margin: float = 0.1
    """By how much of a cosine the positive is to be nearer. FaceNet's 0.2 of a squared distance."""


@dataclass(frozen=True)
class DistillationSettings:
    """Learning from a teacher (`[finetune.distillation]`)."""

    weight: float = 0.0
    teacher: str = ""
    """`base`, a profile, or a folder: of a sentence-transformers model, or of a cross-encoder for
    the losses of scores."""
    loss: str = "cosine"
    """`cosine` or `mse` of the teacher's vectors; `kl` or `margin_mse` of its scores."""
    teacher_temperature: float = 1.0
    """What the teacher's scores are divided by: 1 for a reranker's logits under `kl`, about
    `finetune.temperature` for cosines."""


@dataclass(frozen=True)
class TaskSettings:
    """Files of pairs trained on beside the run's own examples (`[finetune.tasks]`)."""

    retrieval: tuple[str, ...] = ()
    """Questions and passages that answer them; see `pipeline.finetune.tasks.read_pairs`."""
    retrieval_weight: float = 0.25
    """Batches of each file for each step. Ours, as the other weights."""
    sts: tuple[str, ...] = ()
    """Pairs with graded similarity."""
    sts_weight: float = 0.25
    classification: tuple[str, ...] = ()
    """Pairs of one class (1) or of two (0)."""
    classification_weight: float = 0.25


@dataclass(frozen=True)
class FinetuneSettings:
    """Training data to model."""

    epochs: int = 3
    learning_rate: float = 1e-5
    warmup_steps: int = 5
    """Never more than a tenth of all steps."""
    schedule: str = "cosine"
    """`cosine` or `linear`."""
    batch_size: int = 128
    auto_scale: bool = True
    """Scale the batch down under `AUTO_SCALE_BELOW` examples, and intervals that would come up less
    than three times."""
    micro_batch_size: int = 0
    """A forward pass takes as many tokens as so many of the longest texts have, and half where
    memory is full; 0: what a GPU's memory was measured to hold, 8 texts on a CPU. Changes memory
    and speed, never the loss. Ours, as the three that follow."""
    gradient_checkpointing: bool = False
    """Keep a layer's input alone and compute the rest twice: less memory, a third more time, the
    same gradients."""
    liger: bool = False
    """Fused kernels for a Llama's norms and feed-forward layers on a GPU (extra `liger`)."""
    compile: bool = False
    """Let torch compile the layers while they train; the first steps take minutes."""
    hard_negatives: int = 4
    """Used a query, of those mined."""
    in_batch_negatives: bool = True
    """Other queries' passages count as negatives, known positives masked. Ours: the
    published recipe has none."""
    temperature: float = 0.02
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    checkpoint_steps: int = 100
    validation_steps: int = 100
    patience: int = 0
    """Validations in a row without a gain after which training ends, where the dev set can tell;
    0: never. Ours, as all that follow to `refresh_negatives`."""
    probe: str = ""
    """What is scored before and after to see what was forgotten: `python` (summaries and bodies of
    the standard library's docstrings) or a BEIR folder; empty: nothing, unless `interpolate`
    needs `python`."""
    probe_tolerance: float = 0.02
    """So much nDCG@10 may be lost on the probe."""
    interpolate: bool = False
    """Keep the best mean of base and tuned weights (WiSE-FT) instead of the tuned ones."""
    refresh_negatives: bool = False
    """Mine negatives anew with the trained weights before every epoch but the first."""
    positives: str = "one"
    """Of a query with several: `one` an epoch in turn, or all in one loss: `each` against the
    negatives, `supervised` (SupCon) or `any` (MIL-NCE). Ours, as all that follow."""
    contrastive_weight: float = 1.0
    """Of InfoNCE, beside the other losses."""
    matryoshka: bool = False
    """Train the leading dimensions too, so that vectors can be cut."""
    matryoshka_dimensions: tuple[int, ...] = ()
    """Which ones; none: the profile's."""
    false_negatives: FalseNegativeSettings = field(default_factory=FalseNegativeSettings)
    triplet: TripletSettings = field(default_factory=TripletSettings)
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    warmup: WarmupSettings = field(default_factory=WarmupSettings)
    tasks: TaskSettings = field(default_factory=TaskSettings)


@dataclass(frozen=True)
class EvalSettings:
    """What is measured, and at which ranks."""

    k: tuple[int, ...] = (1, 5, 10, 100)


@dataclass(frozen=True)
class ExportSettings:
    """Model to ONNX."""

    opset: int = 17
    dtypes: tuple[str, ...] = ("fp32",)
    """`fp32`, `fp16` or both; the first is served."""
    tensorrt: bool = False
    tensorrt_batch: tuple[int, ...] = (1, 16, 64)
    """Minimum, optimum and maximum of the TensorRT profile."""
    tensorrt_sequence: tuple[int, ...] = (3, 128, 256)
    """Minimum, optimum and maximum; the maximum is widened to what was trained."""


@dataclass(frozen=True)
class DeploySettings:
    """Artifact to service."""

    target: str = "local"
    """`local` or `nim`."""
    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free port."""
    health_timeout_seconds: float = 600.0


@dataclass(frozen=True)
class VerifySettings:
    """How far a served metric may lie from the measured one."""

    low_k: int = 5
    """Below this k `tolerance_low_k` holds, from it on `tolerance`."""
    tolerance_low_k: float = 0.03
    tolerance: float = 0.01
