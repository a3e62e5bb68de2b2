"""The committed base models of the generated tasks, and their tokenizers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quickstart.make_base import BASES
from quickstart.measure import accuracy, respond
from quickstart.pretraining import new_model
from quickstart.tokenizer import build_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from misstep.problems.drawing import GeneratedProblem
from misstep.problems.generated import GENERATORS
from misstep.problems.strides import atoms, oracle


@pytest.fixture(scope="module", params=BASES)
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tokenizer(task: str) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(BASES[task].committed)


@pytest.fixture(scope="module")
def model(task: str) -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(BASES[task].committed).eval()


@pytest.fixture(scope="module")
def problems(task: str) -> list[GeneratedProblem]:
    return list(GENERATORS[task]("validation", 300, 1))


def test_the_committed_tokenizer_is_the_one_that_is_built(task: str, tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.get_vocab() == build_tokenizer(BASES[task].positions).get_vocab()
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 1, None)


@given(seed=st.integers(0, 10_000))
def test_problems_come_back_exactly_one_token_per_atom(
    task: str, tokenizer: PreTrainedTokenizerBase, seed: int
) -> None:
    for problem in GENERATORS[task]("train", 2, seed):
        prompt, solution = f"{problem.question}\n", problem.solution
        ids = tokenizer(prompt + solution)["input_ids"]
        assert tokenizer.decode(ids) == prompt + solution
        assert all(token in atoms(BASES[task].positions) for token in tokenizer.convert_ids_to_tokens(ids))
        # A completion may be tokenised apart from its prompt.
        assert ids == tokenizer(prompt)["input_ids"] + tokenizer(solution)["input_ids"]


def test_a_cut_response_decodes_to_the_same_text_piece_by_piece(task: str, tokenizer: PreTrainedTokenizerBase) -> None:
    text = next(GENERATORS[task]("train", 1, 0)).solution
    ids = tokenizer(text)["input_ids"]
    assert "".join(tokenizer.decode([i]) for i in ids) == text
    assert tokenizer.decode([*ids, tokenizer.eos_token_id], skip_special_tokens=True) == text


def test_foreign_text_is_unknown_and_no_error(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.unk_token_id in tokenizer("What is 100 times 3?")["input_ids"]


def test_the_committed_model_is_a_small_llama(task: str, model: LlamaForCausalLM) -> None:
    committed = BASES[task].committed
    assert isinstance(model, LlamaForCausalLM)
    assert json.loads((committed / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    assert sum(f.stat().st_size for f in committed.iterdir()) < 2_000_000
    assert not list(committed.glob("*.bin"))
    fresh = new_model(build_tokenizer(BASES[task].positions), seed=0)
    assert model.num_parameters() == fresh.num_parameters() < 330_000
    assert model.config.head_dim >= 32
    assert model.generation_config.eos_token_id == 1
    assert model.generation_config.pad_token_id == 0


def test_the_base_can_reason_but_seldom_does(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, problems: list[GeneratedProblem]
) -> None:
    greedy = accuracy(model, tokenizer, problems, temperature=0.0)
    sampled = accuracy(model, tokenizer, problems, temperature=1.0)
    assert greedy <= 0.12
    assert 0.1 <= sampled <= 0.28
    assert greedy < sampled


def test_its_wrong_answers_have_a_wrong_step(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, problems: list[GeneratedProblem]
) -> None:
    responses = respond(model, tokenizer, problems, temperature=1.0)
    first_errors = [oracle(p.question, r) for p, r in zip(problems, responses, strict=True)]
    wrong = [not r.endswith(f"#### {p.gold}") for p, r in zip(problems, responses, strict=True)]
    assert all(error is not None for error, is_wrong in zip(first_errors, wrong, strict=True) if is_wrong)
    assert sum(error is None for error in first_errors) > 0.1 * len(problems)
