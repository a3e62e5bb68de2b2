"""Small real models, rows and a stage context for the tests of training."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from misstep.artifacts.output import Output
from misstep.errors import MisstepError
from misstep.plan.frozen import FrozenStage, Resources
from misstep.plan.kinds import StageKind
from misstep.plan.params import (
    DecodingParams,
    DpoParams,
    OptimiserParams,
    Params,
    PolicyParams,
    PromptParams,
    SelectionParams,
)
from misstep.store.description import Storage
from misstep.training.arguments import dpo_arguments, sft_arguments
from misstep.training.rows import PairRow, Rows, SftRow
from misstep.training.run import Run
from misstep.training.selection import Question
from misstep.training.trainers import DpoOnRows, SftOnRows

WORDS = [str(n) for n in range(20)] + ["+", "=", "####", "and", "so"]
VOCABULARY = ["<pad>", "<eos>", "<unk>", *WORDS]
END = 1


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(VOCABULARY)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", model_max_length=64
    )


def save_model(folder: Path, seed: int = 0, hidden: int = 32, **changes: Any) -> Path:
    """Write a Llama of some 20,000 random weights."""
    torch.manual_seed(seed)
    settings = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": END,
        "pad_token_id": 0,
        "initializer_range": 0.1,
    }
    model = LlamaForCausalLM(LlamaConfig(**(settings | changes)))
    model.generation_config.eos_token_id = [END, 2]  # several: what is written must keep them all
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def ids(text: str) -> list[int]:
    return [VOCABULARY.index(word) for word in text.split()]


def questions(count: int, seed: int = 0) -> list[tuple[str, str, str]]:
    """(question, solution, answer) of additions, no two alike."""
    rng = random.Random(seed)
    found: dict[tuple[int, ...], tuple[str, str, str]] = {}
    while len(found) < count:
        numbers = tuple(rng.randrange(7) for _ in range(rng.randint(2, 3)))
        steps = " ".join(f"so {sum(numbers[: i + 1])}" for i in range(len(numbers)))
        found[numbers] = (" + ".join(map(str, numbers)) + " =", f"{steps} #### {sum(numbers)}", str(sum(numbers)))
    return list(found.values())


def sft_examples(count: int, seed: int = 0) -> list[SftRow]:
    rows = []
    for question, solution, _ in questions(count, seed):
        prompt, response = ids(question), [*ids(solution), END]
        rows.append(SftRow(np.array(prompt + response, dtype=np.int32), len(prompt)))
    return rows


def pair_examples(count: int, seed: int = 0) -> list[PairRow]:
    """Pairs in which every second rejected side is truncated, and so is every third chosen one."""
    rng = random.Random(seed)
    rows = []
    for index, (question, solution, _) in enumerate(questions(count, seed)):
        chosen, rejected = [*ids(solution), END], [*ids(f"so {rng.randrange(20)} #### {rng.randrange(20)}"), END]
        chosen = chosen[: -2 if index % 3 == 0 else None]
        rejected = rejected[: 2 if index % 2 == 0 else None]
        rows.append(PairRow(*(np.array(side, dtype=np.int32) for side in (ids(question), chosen, rejected))))
    return rows


def optimiser(**changes: Any) -> OptimiserParams:
    settings: dict[str, Any] = {
        "learning_rate": 3e-3,
        "epochs": 3,
        "batch_size": 8,
        "micro_batch_size": 8,
        "schedule": "linear",
        "warmup_percent": 10,
        "weight_decay": 0.1,
        "max_grad_norm": 1.0,
        "max_length": 64,
        "dtype": "float32",
        "lora_rank": None,
        "seed": 0,
    }
    return OptimiserParams(**(settings | changes))


def selection(**changes: Any) -> SelectionParams:
    decoding = DecodingParams(
        engine="transformers", dtype="float32", temperature=1.0, top_p=1.0, max_new_tokens=12, stop=()
    )
    settings = {
        "epochs": (1, 2, 3),
        "patience": None,
        "problems": 16,
        "decoding": decoding,
        "answer_format": "hash",
        "seed": 0,
    }
    return SelectionParams(**(settings | changes))


class FolderCheckpoints:
    """Checkpoints in a folder, complete or invisible."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.saved: list[int] = []
        self.refused: list[tuple[int, str]] = []

    def save(self, step: int, folder: Path) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        half = self.root / f"half-{step}"
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(folder, half)
        if not (self.root / f"{step:09}").exists():
            half.rename(self.root / f"{step:09}")
        self.saved.append(step)

    def newest(self) -> tuple[int, Path] | None:
        steps = sorted(path for path in self.root.glob("[0-9]*")) if self.root.exists() else []
        return (int(steps[-1].name), steps[-1]) if steps else None

    def refuse(self, step: int, why: str) -> MisstepError:
        shutil.rmtree(self.root / f"{step:09}")
        self.refused.append((step, why))
        return MisstepError(f"checkpoint of step {step} is refused: {why}")

    def note_out_of_memory(self, micro_batch: int) -> None:
        self.too_many: int | None = micro_batch

    def out_of_memory(self) -> int | None:
        return getattr(self, "too_many", None)


class SilentProgress:
    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def update(self, done: int, total: int, unit: str, **detail: float | str) -> None:
        self.calls.append((done, total))


class KeptLog:
    """The steps of the log and of the scores, as they were at each time that the training published them."""

    def __init__(self) -> None:
        self.steps: list[tuple[list[int], list[int]]] = []

    def publish(self, log: Iterable[Mapping[str, Any]], selection: Iterable[Mapping[str, Any]]) -> None:
        self.steps.append(([row["step"] for row in log], [row["step"] for row in selection]))


@dataclass
class FolderContext:
    """A stage context over tables in memory and a folder."""

    folder: Path
    kind: StageKind
    params: Params
    tables: Mapping[tuple[str, str], pa.Table] = field(default_factory=dict)
    models: Mapping[str, Path] = field(default_factory=dict)
    threads: int = 1
    summaries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stage = FrozenStage(
            kind=self.kind,
            name="small",
            key=f"{self.kind.value}-0",
            params=self.params.model_dump(),
            storage=Storage(uri=self.folder.as_uri()),
            resources=Resources(batch_rows=8),
        )
        self.progress = SilentProgress()
        self.checkpoints = FolderCheckpoints(self.folder / "checkpoints")
        self.live_log = KeptLog()

    @property
    def scratch(self) -> Path:
        scratch = self.folder / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        return scratch

    def manifest_summary(self, role: str) -> Mapping[str, Any]:
        return self.summaries.get(role, {})

    def has(self, role: str) -> bool:
        return role in self.models or any(role == held for held, _ in self.tables)

    def rows_in(self, role: str, table: str) -> int:
        return int(self.read(role, table).num_rows)

    def parts_in(self, role: str, table: str) -> int:
        return 1

    def read(self, role: str, table: str, columns: list[str] | None = None) -> pa.Table:
        found = self.tables[role, table]
        return found.select(columns) if columns else found

    def batches(
        self, role: str, table: str, columns: list[str] | None = None, part: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        yield from self.read(role, table, columns).to_batches(max_chunksize=7)

    def model_folder(self, role: str = "model") -> Path:
        return self.models[role]

    def external_path(self, role: str) -> Path:
        return self.models[role]

    def file(self, role: str, path: str) -> Path:
        return self.models[role] / path


def bytes_of(files: Mapping[str, Path]) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files.items()}


def policy(max_gap_points: int = 10, epoch: int | None = None) -> PolicyParams:
    return PolicyParams(max_gap_points=max_gap_points, epoch=epoch)


def sft_run(
    rows: list[SftRow],
    params: OptimiserParams,
    chosen_by: SelectionParams | None = None,
    ask: int = 0,
    policy: PolicyParams | None = None,
) -> Run:
    return Run(
        rows=Rows(rows),
        optimiser=params,
        selection=chosen_by,
        questions=[Question(f"q{i}", ids(q), answer) for i, (q, _, answer) in enumerate(questions(ask, seed=7))],
        policy=policy,
        own=[Question(f"t{i}", ids(q), a) for i, (q, _, a) in enumerate(questions(10, seed=0))] if policy else (),
        trainer=SftOnRows,
        arguments=partial(sft_arguments, params),
        nothing="no correct teacher solutions",
    )


def dpo_run(rows: list[PairRow], params: OptimiserParams, nll_weight: float = 0.0, beta: float = 0.3) -> Run:
    prompt = PromptParams(style="plain", template="{question}")
    stage = DpoParams(optimiser=params, beta=beta, nll_weight=nll_weight, prompt=prompt, selection=None)
    return Run(
        rows=Rows(rows),
        optimiser=params,
        selection=None,
        questions=(),
        trainer=DpoOnRows,
        arguments=partial(dpo_arguments, stage),
        nothing="no pairs",
    )


def context(folder: Path, run: Run) -> FolderContext:
    kind = StageKind.SFT if run.trainer is SftOnRows else StageKind.DPO
    return FolderContext(folder, kind, run.optimiser)


def table(output: Output, name: str) -> pa.Table:
    """Return a table that a training brings whole."""
    return output.tables[name]


def losses(output: Output) -> list[float]:
    return table(output, "log")["loss"].to_pylist()
