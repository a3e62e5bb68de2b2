"""The pure parts of a teacher: reading answers, votes, budgets, paces, rules, near-duplicates."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import LCSseq

from misstep.artifacts.gc import plan_gc
from misstep.artifacts.inspect import ls, teacher_requests
from misstep.errors import BadInput, MisstepError
from misstep.plan.params import CurateParams, DecodingParams, TeacherBudgetParams
from misstep.store.local import LocalStore
from misstep.synthesis import prompts
from misstep.synthesis.asks import Ask, NoReply, Reply
from misstep.synthesis.budget import Share, Usage, prompt_bound
from misstep.synthesis.curate import sort_out
from misstep.synthesis.journal import Journal
from misstep.synthesis.monitor import MOST_UNUSABLE, OUTAGE_FAILURES, OUTAGE_SECONDS, WINDOW, TeacherMonitor
from misstep.synthesis.pacing import Pacer
from misstep.synthesis.parse import question_in, verdict_in, without_thoughts
from misstep.synthesis.responses import TryAgain, clean, read_reply, retry_after
from misstep.synthesis.similar import SimilarTexts
from misstep.synthesis.solutions import read_solution, vote
from misstep.verification.extract import AnswerFormat, extract_answer

DECODING = DecodingParams(engine="transformers", dtype="float32", temperature=0.7, top_p=1.0, max_new_tokens=64)
ASK = Ask((("user", "x" * 40),), "solve")
TEXT = st.text(st.characters(codec="utf-8"), max_size=200)


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("Sure!\n<problem>\nHow many are five?\n</problem> Good luck", "How many are five?"),
        ("<PROBLEM> How many are five? </ Problem >", "How many are five?"),
        ("<problem>first one here</problem> no: <problem>How many are five?</problem>", "How many are five?"),
        ("<problem>\n**Problem:** How many are five?\n", "How many are five?"),
        ("**New Problem:** How many are five?", "How many are five?"),
        ("<think><problem>not this one here</problem></think>Problem: How many are five?", "How many are five?"),
        ("<think>on and on", None),
        ("How many are five?", None),
        ("<problem>...</problem>", None),
        ("<problem>12 + 5 = ?</problem>", None),
        ("<problem>" + "word " * 2000 + "</problem>", None),
        ("", None),
    ],
)
def test_questions_are_read_in_any_usual_form(text: str, question: str | None) -> None:
    assert question_in(text) == question


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("<verdict>SOUND</verdict><problem>x</problem>", "sound"),
        ("<verdict> Repaired. </verdict>", "repaired"),
        ("Verdict: **HOPELESS**", "hopeless"),
        ("<verdict>sound or repaired</verdict>", None),
        ("It sounds good", None),
        ("", None),
    ],
)
def test_verdicts(text: str, verdict: str | None) -> None:
    assert verdict_in(text) == verdict


@given(TEXT, st.sampled_from(["<problem>", "</problem>", "<think>", "</think>", "#### 3", "<verdict>sound"]), TEXT)
def test_no_text_breaks_the_readers(before: str, mark: str, after: str) -> None:
    text = before + mark + after
    question_in(text), verdict_in(text), without_thoughts(text)
    for style in ("hash", "boxed"):
        solution = read_solution(text, style)
        assert solution is None or solution.answer


@given(TEXT)
def test_prompts_hold_the_question_whatever_stands_in_it(question: str) -> None:
    for text in (prompts.write(question, "hash"), prompts.solve(question, "boxed")):
        assert question in text[-1][1]
    assert prompts.check("q", "hash", question)[2] == ("assistant", question)


@pytest.mark.parametrize(
    ("text", "style", "end"),
    [
        ("2+2=4\n#### 4", "hash", "2+2=4\n#### 4"),
        ("2+2=4\n#### 4\nI hope that helps!", "hash", "2+2=4\n#### 4"),
        (r"So \boxed{1,200}.", "hash", "So \\boxed{1,200}.\n#### 1,200"),
        ("The answer is **18**.", "hash", "The answer is **18**.\n#### 18"),
        (r"So $\boxed{\frac12}$.", "boxed", r"So $\boxed{\frac12}$."),
        ("2+2=4\n#### 4", "boxed", "2+2=4\n#### 4\nThe final answer is $\\boxed{4}$."),
    ],
)
def test_solutions_end_in_the_form_of_the_data(text: str, style: prompts.Style, end: str) -> None:
    solution = read_solution(text, style)
    assert solution is not None and solution.text == end
    assert extract_answer(end, AnswerFormat(style)).answer == solution.answer


@given(st.lists(st.sampled_from(["1", "2", "3", None]), max_size=12))
@example(["2", "1", "1", "2"])
def test_the_vote(answers: list[str | None]) -> None:
    result = vote(answers, lambda one, other: answers[one] == answers[other])
    counts = sorted((sum(a == b for a in answers) for b in {a for a in answers if a}), reverse=True)
    assert len(result.winners) == (counts[0] if counts else 0)
    assert result.runner_up == (counts[1] if len(counts) > 1 else 0)
    assert len({answers[i] for i in result.winners}) <= 1 and sorted(result.winners) == list(result.winners)


@given(
    blocks=st.lists(st.integers(1, 64), min_size=1, max_size=8),
    tokens=st.integers(1, 10**6),
    cost=st.floats(0.001, 100),
)
def test_shares_never_exceed_the_budget_together(blocks: list[int], tokens: int, cost: float) -> None:
    budget = TeacherBudgetParams(max_tokens=tokens, max_cost=cost, price_input=2.5, price_output=10.0)
    total = Usage()
    for seeds in blocks:
        share = Share(budget, seeds, sum(blocks))
        low, high = 0, 10**9  # the most that this block may use up, by bisection
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if share.allows(Usage(middle // 2, middle - middle // 2)) else (low, middle - 1)
        total += Usage(low // 2, low - low // 2)
    assert Share(budget, 1, 1).allows(total)


@given(TEXT)
def test_a_prompts_bound_is_one(text: str) -> None:
    assert prompt_bound([("user", text)]) >= len(text.encode())


@settings(max_examples=50)
@given(st.lists(st.integers(1, 500), min_size=2, max_size=40), st.integers(1, 600), st.integers(1, 20_000))
def test_no_minute_holds_more_than_its_rates(sizes: list[int], requests: int, tokens: int) -> None:
    now = 0.0
    sent: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    async def all_turns() -> None:
        pacer = Pacer(requests, tokens, lambda: now, sleep)
        for size in sizes:
            await pacer.turn(size)
            sent.append(now)

    asyncio.run(all_turns())
    for i, start in enumerate(sent):
        within = [j for j in range(i, len(sent)) if sent[j] < start + 60 - 1e-6]
        assert len(within) <= requests + 1e-6
        assert sum(sizes[j] for j in within[:-1]) <= tokens + 1e-3, "the last one's tokens are paid for after it"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Wed, 25 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Wed, 25 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, datetime(2026, 11, 25, 12, 0, tzinfo=UTC)) == seconds


@given(st.binary(max_size=100) | st.from_regex(rb'\{"choices": \[.{0,40}\]\}', fullmatch=True))
def test_no_body_breaks_the_client(body: bytes) -> None:
    with contextlib.suppress(TryAgain):
        assert isinstance(read_reply(body, ASK), Reply)


@pytest.mark.parametrize(
    "usage", ["null", "7", '{"prompt_tokens": -1, "completion_tokens": 2}', '{"prompt_tokens": 1e3}']
)
def test_odd_usage_is_guessed(usage: str) -> None:
    body = f'{{"choices": [{{"message": {{"content": "12345678"}}}}], "usage": {usage}}}'
    assert read_reply(body.encode(), ASK) == Reply("12345678", "stop", 10, 2, estimated=True)


@given(st.text())
def test_clean_text_can_be_stored(text: str) -> None:
    assert "\x00" not in clean(text).encode().decode()


def test_the_rule_for_rubbish_looks_at_new_answers_only() -> None:
    monitor = TeacherMonitor("spec.teacher")
    old, new = Reply("x", "stop", 1, 1, reused=True), Reply("tralala", "stop", 1, 1)
    for _ in range(10 * WINDOW):
        monitor.unusable(old, "no-problem")
    for _ in range(WINDOW - MOST_UNUSABLE + 1):
        monitor.usable(new)
    for _ in range(MOST_UNUSABLE - 1):
        monitor.unusable(NoReply("no-reply", "timeout"), "no-reply")
    with pytest.raises(BadInput, match=r"45 of its last 50 .*no-reply: 44, no-problem: 1.*tralala"):
        monitor.unusable(new, "no-problem")


def test_the_rule_for_outages_needs_many_failures_over_a_while() -> None:
    now = 0.0
    monitor = TeacherMonitor("spec.teacher", lambda: now)
    for _ in range(5 * OUTAGE_FAILURES):
        monitor.failed("timeout", "d")
    now = OUTAGE_SECONDS + 1
    monitor.answered()
    for _ in range(5 * OUTAGE_FAILURES):
        monitor.failed("timeout", "d")
    now *= 2
    with pytest.raises(MisstepError, match="51 tries"):
        monitor.failed("timeout", "d")


def test_the_journal_tells_requests_apart_and_keeps_the_first_answer(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    journal = Journal(store, "m", DECODING)
    first, second = Reply("one é", "stop", 3, 4), Reply("two", "length", 5, 6, estimated=True)
    assert journal.find(ASK) is None
    assert journal.keep(ASK, first) == first
    assert journal.keep(ASK, second).text == "one é"
    names = {
        journal.name(ASK),
        journal.name(Ask(ASK.messages, "solve", 1)),
        Journal(store, "n", DECODING).name(ASK),
        Journal(store, "m", DECODING.model_copy(update={"temperature": 0.6})).name(ASK),
    }
    assert len(names) == 4
    assert teacher_requests(store)[0] == 1 and ls(store) == []
    assert plan_gc(store, [], grace_seconds=-10) == [], "paid answers are never rubbish"
    (tmp_path / journal.name(ASK)).chmod(0o644)
    (tmp_path / journal.name(ASK)).write_text("{}")
    with pytest.raises(BadInput, match="Remove this object"):
        journal.find(ASK)


WORDS = st.lists(st.sampled_from(["a", "b", "c", "dd", "12", "Ärger"]), min_size=1, max_size=12)


@given(st.lists(WORDS, max_size=20), st.integers(1, 100), st.integers(0, 8))
@example([["a"] * 2, ["a"] * 8], 40, 0)  # exactly at the cutoff
def test_near_duplicates_are_those_of_rouge_l(texts: list[list[str]], percent: int, known: int) -> None:
    similar = SimilarTexts(percent)
    similar.take([" ".join(words) for words in texts[:known]])
    found = list(similar.first_alike([", ".join(words).upper() for words in texts[known:]]))
    taken = [[w.casefold() for w in words] for words in texts[:known]]
    for words, alike in zip(texts[known:], found, strict=True):
        folded = [w.casefold() for w in words]
        scores = [200 * LCSseq.similarity(folded, t) / (len(folded) + len(t)) for t in taken]
        expected = next((i for i, score in enumerate(scores) if score >= percent - 1e-9), None)
        assert alike == expected
        if alike is None:
            taken.append(folded)


def test_sorting_out_names_the_reason() -> None:
    seeds = [
        {"split": "train", "question": "Ann has four red kites and sells one of them on Sunday, how many are left?"},
        {"split": "test", "question": "one two three four five six seven eight nine ten eleven twelve thirteen?"},
        {"split": "validation", "question": "Bob owns nine boats and paints three, how many are unpainted?"},
    ]
    new = [
        "A train leaves at noon with sixty people; ten get off. How many go on?",
        "a train leaves at  noon with sixty people; ten get off. How many go on?",
        "A train leaves at noon with eighty people; ten get off. How many go on?",
        "Ann has five red kites and sells two of them on Sunday, how many are left?",
        "Bob owns ten boats and paints three, how many are unpainted?",
        "And so one two three four five six seven eight nine ten eleven twelve thirteen? he said to all of us there",
        "Quite another story about the price of eleven lemons in Rome",
    ]
    params = CurateParams(new_problems=True, near_duplicate_percent=70, overlap_ngram=13, answer_format="hash")
    found = sort_out(new, seeds, params)
    assert list(found.kept) == [0, 6] and found.touched == 1
    assert found.rejected == {"duplicate": 1, "near-duplicate": 1, "near-duplicate-of-seed": 1, "test-overlap": 2}
