"""A teacher that runs here: a scripted engine for the good path, a real tiny model for the bad one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from misstep.errors import BadInput
from misstep.generation import engines
from misstep.plan.kinds import StageKind
from misstep.stages.shell import run_stage
from tests.generation.tiny import byte_tokenizer, tiny
from tests.synthesis.running import experiment, planned, rows_of, run, seeds
from tests.synthesis.scripted import AS_JSON, WITHOUT_SYSTEM_TURNS, ScriptedEngine, json_tokenizer
from tests.synthesis.server import GoodTeacher

CHAT = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "


def local(folder: Path, more: str) -> str:
    """Write `spec.teacher` for a model that runs here, and a real one of random weights."""
    save_chat_model(folder / "teacher")
    return f"{{kind: model, model: {{model: {{path: teacher}}}}{more}}}"


@pytest.mark.parametrize("template", [AS_JSON, WITHOUT_SYSTEM_TURNS])
def test_a_good_model_writes_what_a_good_endpoint_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    opened: list[ScriptedEngine] = []

    def open_engine(*_: Any) -> ScriptedEngine:
        opened.append(ScriptedEngine(GoodTeacher(), json_tokenizer(template)))
        return opened[-1]

    monkeypatch.setattr(engines, "open_engine", open_engine)
    teacher = local(tmp_path, ", newProblemsPerSeed: 2, solutions: 3")
    made = planned(experiment(tmp_path, teacher, seeds(5), "  resources: {default: {blockRows: 3}}"))
    manifest = run(made)
    assert manifest.summary["teacher"]["kept"] == 10
    assert manifest.summary["teacher"]["requests"] == {"asked": 50, "reused": 0, "failed": 0}
    # Each step of a block is one batch, and solutions of one problem one request.
    assert [engine.batches for engine in opened] == [[6, 6, 6, 4, 4, 4]] and opened[0].closed
    drafts = rows_of(made, StageKind.SYNTHESIZE, "drafts", tmp_path)
    assert [(d["seed_id"], d["draft"]) for d in drafts] == [
        (row["problem_id"], number)
        for row in rows_of(made, StageKind.PROBLEMS, "problems", tmp_path)
        if row["split"] == "train"
        for number in (0, 1)
    ]


def test_a_prompt_beyond_the_context_is_refused_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "open_engine", lambda *_: ScriptedEngine(GoodTeacher(), json_tokenizer(), 1000))
    made = planned(experiment(tmp_path, local(tmp_path, ", solutions: 2"), seeds(4)))
    assert run(made, StageKind.PROBLEMS, StageKind.SYNTHESIZE).summary["rejected"] == {"refused": 4}


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "open_engine", lambda *_: ScriptedEngine(GoodTeacher(), json_tokenizer(None)))
    made = planned(experiment(tmp_path, local(tmp_path, ""), seeds(2)))
    run(made, StageKind.PROBLEMS)
    with pytest.raises(BadInput, match="no chat template"):
        run(made, StageKind.SYNTHESIZE)


def save_chat_model(folder: Path) -> Path:
    """Write a Llama of random weights that reads bytes and knows a chat template."""
    tiny(vocab_size=258, max_position_embeddings=4096).save_pretrained(folder)
    tokenizer = byte_tokenizer(model_max_length=4096)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    return folder


def test_a_teacher_is_checked_without_the_policys_prompt(tmp_path: Path) -> None:
    made = planned(experiment(tmp_path, local(tmp_path, ""), seeds(2)))
    manifest = run_stage(made.stage("inspect-teacher")).manifest
    assert manifest is not None
    model = manifest.summary["model"]
    assert (model["architecture"], model["embeddings"], model["text"]) == ("LlamaForCausalLM", 258, None)
    assert [part.path.rpartition("/")[2] for part in manifest.parts] == ["page.txt"]


def test_a_teacher_that_cannot_be_used_is_refused_by_its_field(tmp_path: Path) -> None:
    given = local(tmp_path, "")
    (tmp_path / "teacher/model.safetensors").unlink()
    made = planned(experiment(tmp_path, given, seeds(2)))
    with pytest.raises(BadInput, match=r"^spec\.teacher\.model\.model: "):
        run_stage(made.stage("inspect-teacher"))


def test_a_real_model_that_writes_rubbish_ends_the_stage_by_rule(tmp_path: Path) -> None:
    teacher = local(tmp_path, ", solutions: 2, maxNewTokens: 8")
    made = planned(experiment(tmp_path, teacher, seeds(55), "  resources: {default: {batchRows: 32}}"))
    run(made, StageKind.PROBLEMS)
    with pytest.raises(BadInput, match="of its last 50 answers are unusable"):
        run(made, StageKind.SYNTHESIZE)
