from __future__ import annotations

import json
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from misstep.credit.pieces import TokenPieces
from misstep.credit.steps import StepCutter, step_at
from misstep.problems.strides import first_error, generate
from tests.credit.vocabularies import CORPUS, atoms, byte_level, sentencepiece
from tests.shared_data import shared_data

TOKENIZERS = {"bytes": byte_level, "sentencepiece": sentencepiece, "atoms": atoms}
TEXT = st.text(st.sampled_from(list("ab3 .,!?$\\[]()\n\n×é√🙂A")), max_size=80)
RULES = ["lines", "sentences"]


def encode(tokenizer, text, end=True):
    """Encode as a response: behind a prompt, where SentencePiece writes no space of its own."""
    prompt, whole = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in ("#", "#" + text))
    assert whole[: len(prompt)] == prompt
    return tuple(whole[len(prompt) :]) + ((tokenizer.eos_token_id,) if end else ())


def cut(text, rule="lines", max_steps=20, stop=(), tokenizer=None):
    tokenizer = tokenizer or byte_level()
    return StepCutter(TokenPieces(tokenizer), rule, max_steps, stop).cut(encode(tokenizer, text))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@settings(deadline=None)
@given(text=TEXT, max_steps=st.integers(1, 6))
def test_steps_partition_the_ids(name, rule, text, max_steps):
    tokenizer = TOKENIZERS[name]()
    ids = encode(tokenizer, text)
    steps = StepCutter(TokenPieces(tokenizer), rule, max_steps).cut(ids)
    bounds = [0, *steps.ends]
    assert all(begin < end for begin, end in pairwise(bounds))
    assert sum((ids[begin:end] for begin, end in pairwise(bounds)), ()) == ids
    assert len(steps.texts) == len(steps.ends) <= max_steps
    assert "".join(steps.texts) == TokenPieces(tokenizer).decode(ids)
    assert all(step.strip() for step in steps.texts) or len(steps.texts) == 1


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 340), max_size=40))
def test_any_ids_at_all_are_partitioned(name, ids):
    tokenizer = TOKENIZERS[name]()
    ids = [token % len(tokenizer) for token in ids]
    steps = StepCutter(TokenPieces(tokenizer), "lines", 8).cut(ids)
    assert steps.ends == tuple(sorted(set(steps.ends)))
    assert (steps.ends[-1] if steps.ends else 0) == len(ids)


@pytest.mark.parametrize("name", ["bytes", "sentencepiece"])
@settings(deadline=None)
@given(text=TEXT)
def test_pieces_give_each_character_to_the_token_that_completes_it(name, text):
    tokenizer = TOKENIZERS[name]()
    ids, pieces = encode(tokenizer, text), TokenPieces(tokenizer)
    parts = pieces.of(ids)
    assert len(parts) == len(ids)
    for end in range(len(ids) + 1):
        whole = pieces.decode(ids[:end])
        if not whole.endswith("\ufffd"):
            assert "".join(parts[:end]) == whole


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
def test_a_line_is_a_step_and_empty_lines_are_none(name):
    text = "\n\n5 × 4 = 20\n\n \n20 ÷ 2 = 10\n#### 10\n\n"
    steps = cut(text, tokenizer=TOKENIZERS[name]())
    assert steps.texts == ("\n\n5 × 4 = 20\n\n \n", "20 ÷ 2 = 10\n", "#### 10\n\n")


def test_a_step_ends_with_the_token_that_completes_the_newlines():
    tokenizer = atoms()
    ids = encode(tokenizer, "3\n\n4\n5")
    assert StepCutter(TokenPieces(tokenizer), "lines", 9).cut(ids).ends == (3, 5, 7)


def test_no_ids_have_no_steps_and_an_end_token_alone_has_one():
    cutter = StepCutter(TokenPieces(atoms()), "lines", 9)
    assert cutter.cut(()).ends == ()
    assert cutter.cut((atoms().eos_token_id,)).ends == (1,)
    with pytest.raises(ValueError, match="max_steps"):
        StepCutter(TokenPieces(atoms()), "lines", 0)


def test_what_follows_a_stop_string_belongs_to_the_last_step():
    steps = cut("3 + 12 = 15\n#### 15\n\nQuestion:\nNow", stop=("\n\nQuestion:",))
    assert steps.texts == ("3 + 12 = 15\n", "#### 15\n\nQuestion:\nNow")


def test_neighbours_that_are_shortest_together_are_merged_first():
    steps = cut("aaaaaaaaaaaa\nb\nc\ndddddddddddd\neeeeeeeeeeee\n", max_steps=4)
    assert steps.texts == ("aaaaaaaaaaaa\n", "b\nc\n", "dddddddddddd\n", "eeeeeeeeeeee\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Since $a. B$ holds, we go on here. So the price is $5. Then it is 3.5 more for us. Is that all? It is.",
            [
                "Since $a. B$ holds, we go on here.",
                " So the price is $5.",
                " Then it is 3.5 more for us.",
                " Is that all?",
                " It is.",
            ],
        ),
        (
            "We write it out as follows:\n\\[\nx = 2. \\\\\nY = 3\n\\]\nDr. No says i.e. Nothing of 5! = 120 there.",
            [
                "We write it out as follows:\n",
                "\\[\nx = 2. \\\\\nY = 3\n\\]\n",
                "Dr. No says i.e. Nothing of 5! = 120 there.",
            ],
        ),
        (
            "1. First we add the two numbers... Then more.\n2. Second we take the result.\nThe answer is $\\boxed{4}$.",
            [
                "1. First we add the two numbers... Then more.\n",
                "2. Second we take the result.\n",
                "The answer is $\\boxed{4}$.",
            ],
        ),
        (
            "\\begin{align*} a &= 1. \\\\ B &= 2. \\end{align*} That is what we want."
            " And an open \\[ x. Y is no mathematics.",
            [
                "\\begin{align*} a &= 1. \\\\ B &= 2. \\end{align*} That is what we want.",
                " And an open \\[ x.",
                " Y is no mathematics.",
            ],
        ),
        (
            "So. We take the sum of all of the numbers above. It is 4.",
            ["So. We take the sum of all of the numbers above.", " It is 4."],
        ),
    ],
)
def test_sentences(text, expected):
    assert list(cut(text, "sentences").texts) == expected


def test_gsm8k_solutions_have_a_step_for_each_line():
    rows = (shared_data("gsm8k") / "train.jsonl").read_text("utf-8").splitlines()[:400]
    lengths = []
    for row in rows:
        text = json.loads(row)["answer"]
        lines = [line for line in text.split("\n") if line.strip()]
        assert len(cut(text).ends) == min(20, len(lines))
        lengths.append(len(lines))
    assert 3.5 < sum(lengths) / len(lengths) < 5.5


def test_math_solutions_are_cut_outside_mathematics():
    rows = (shared_data("math") / "train.jsonl").read_text("utf-8").splitlines()[:300]
    lengths = []
    for row in rows:
        steps = cut(json.loads(row)["solution"], "sentences", max_steps=40)
        lengths.append(len(steps.ends))
        before = ""
        for step in steps.texts[:-1]:
            before += step
            for opening, closing in ((r"\[", r"\]"), (r"\begin{align*}", r"\end{align*}")):
                assert before.count(opening) == before.count(closing)
    assert 3 < sum(lengths) / len(lengths) < 5


def test_corpus_survives_every_tokenizer():
    for make in TOKENIZERS.values():
        for text in CORPUS[:3]:
            assert "".join(cut(text, tokenizer=make()).texts) == text


def test_a_step_is_found_by_a_character():
    assert [step_at(["ab\n", "c", "de"], offset) for offset in range(8)] == [1, 1, 1, 2, 3, 3, 3, 3]


class Pieces(TokenPieces):
    """Tokens that are given, the end token last; some hold a newline and what follows it."""

    def __init__(self, texts):
        self._texts = [*texts, ""]

    def of(self, token_ids):
        return [self._texts[token] for token in token_ids]


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=300, deadline=None)
@given(data=st.data(), seed=st.integers(0, 9999), max_steps=st.integers(1, 6))
def test_the_first_wrong_step_is_the_one_that_cannot_be_made_right(rule, data, seed, max_steps):
    problem = next(generate("train", 1, seed))
    at = data.draw(st.integers(0, len(problem.solution)))
    changed = data.draw(st.sampled_from(["", "7", "\n", "Oh. So 3. And 4!\n", "#### 12", " "]))
    response = problem.solution[:at] + changed + problem.solution[at + data.draw(st.integers(0, 3)) :]
    bounds = sorted({0, len(response), *data.draw(st.lists(st.integers(0, len(response)), max_size=40))})
    tokens = [response[begin:end] for begin, end in pairwise(bounds)]
    steps = StepCutter(Pieces(tokens), rule, max_steps).cut(range(len(tokens) + 1))
    assert "".join(steps.texts) == response
    error = first_error(problem.question, response)
    if error is None:
        return
    step = step_at(steps.texts, error)
    before, through = ("".join(steps.texts[:n]) for n in (step - 1, step))

    def hopeful(text):
        return first_error(problem.question, text) in (None, len(text))

    assert hopeful(before)
    assert step == len(steps.texts) or not hopeful(through)


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@settings(deadline=None)
@given(given_steps=st.lists(TEXT, min_size=1, max_size=6))
def test_given_steps_partition_the_ids_and_each_is_in_one_step(name, given_steps):
    tokenizer = TOKENIZERS[name]()
    ids = encode(tokenizer, "".join(given_steps))
    offsets = list(accumulate(map(len, given_steps)))
    cutter = StepCutter(TokenPieces(tokenizer), "lines", 1)
    steps, numbers = cutter.cut_at(ids, offsets)
    assert all(begin < end for begin, end in pairwise([0, *steps.ends]))
    assert steps.ends[-1] == len(ids)
    assert "".join(steps.texts) == TokenPieces(tokenizer).decode(ids)
    assert len(numbers) == len(given_steps)
    assert list(numbers) == sorted(numbers)
    assert set(numbers) <= set(range(1, len(steps.ends) + 1))
    survives = TokenPieces(tokenizer).decode(ids) == "".join(given_steps)
    if name == "atoms" and all(given_steps) and survives and set("".join(given_steps)) <= set("ab3 .,"):
        assert steps.texts == tuple(given_steps)  # a token a character: no cut moves


def test_a_given_cut_inside_a_token_moves_to_its_end():
    tokenizer = byte_level()
    text = "She has 3 apples."
    ids = encode(tokenizer, text)
    pieces = TokenPieces(tokenizer).of(ids)
    inside = next(sum(map(len, pieces[:n])) + 1 for n, piece in enumerate(pieces) if len(piece) > 1)
    steps, numbers = StepCutter(TokenPieces(tokenizer), "lines", 9).cut_at(ids, [inside, inside, len(text)])
    assert len(steps.texts) == 2
    assert steps.texts[0] == text[: len(steps.texts[0])]
    assert len(steps.texts[0]) > inside
    assert numbers == (1, 1, 2)
