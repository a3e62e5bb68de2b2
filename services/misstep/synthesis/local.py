"""A teacher that runs in one of the engines here: all seeds of a block do each step together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from misstep.errors import BadInput
from misstep.generation.chat import ChatTemplate
from misstep.generation.engine import Engine, Request
from misstep.generation.literal import LiteralText
from misstep.generation.seeds import sample_seed
from misstep.generation.text import encode
from misstep.synthesis.asks import Answer, Ask, Message, NoReply, Reply
from misstep.synthesis.budget import Share, Usage, used
from misstep.synthesis.drafts import Author, Draft, Recipe, Seed
from misstep.synthesis.responses import clean
from misstep.synthesis.teacher import Work

FIELD = "spec.teacher.model"
Report = Callable[[int, Usage], None]
Name = tuple[str, int]
"""(seed's id, number of the draft)"""


class LocalTeacher:
    """Runs recipes with an engine. Each answer has its own random seed, made from its request, so it does not depend on
    the rest of the batch.

    Raises:
        BadInput: the tokenizer has no chat template.
    """

    def __init__(self, engine: Engine, seed: int, report: Report) -> None:
        self._engine, self._seed, self._report = engine, seed, report
        if not engine.tokenizer.chat_template:
            fix = "The tokenizer has no chat template: a teacher follows instructions, so use a model made for chat."
            raise BadInput(FIELD, str(engine.tokenizer.name_or_path), fix)
        self._chat = ChatTemplate(engine.tokenizer, field=FIELD)
        self._literal = LiteralText(engine.tokenizer)

    def close(self) -> None:
        self._engine.close()

    def work(self, author: Author, seeds: Sequence[Seed], share: Share) -> Work:
        """Run a block; the share of a budget is for endpoints. Raises what the author's monitor raises."""
        recipes: dict[Name, Recipe] = {}
        for seed in seeds:
            recipes |= {(seed.problem_id, i): recipe for i, recipe in enumerate(author.recipes(seed))}
        made: dict[Name, Draft] = {}
        total = Work([], Usage())
        asks = {name: next(recipe) for name, recipe in recipes.items()}
        while asks:
            answers = self._answers(asks)
            asks = {}
            for name, found in answers.items():
                replies = [answer for answer in found if isinstance(answer, Reply)]
                total.usage += used(replies)
                total.asked += len(replies)
                total.failed += len(found) - len(replies)
                try:
                    asks[name] = recipes[name].send(found)
                except StopIteration as end:
                    made[name] = end.value
            self._report(len({seed_id for seed_id, _ in made} - {seed_id for seed_id, _ in asks}), total.usage)
        total.drafts = [made[name] for name in recipes]
        return total

    def _answers(self, asks: dict[Name, list[Ask]]) -> dict[Name, list[Answer]]:
        """Run one step of all recipes."""
        found: dict[Name, list[Answer]] = {}
        for name, wanted in asks.items():
            found[name] = [NoReply("refused", "longer than the model's context") for _ in wanted]
            # Equal conversations are one request with several samples.
            together: defaultdict[tuple[Message, ...], list[int]] = defaultdict(list)
            for position, ask in enumerate(wanted):
                together[ask.messages].append(position)
            for messages, positions in together.items():
                ids = self._prompt_ids(messages)
                if len(ids) < self._engine.context_length:
                    seeds = [
                        sample_seed(self._seed, *name, wanted[position].step, wanted[position].index)
                        for position in positions
                    ]
                    self._engine.submit(Request((name, positions, len(ids)), ids, seeds))
        for request, completions in self._engine.results():
            name, positions, prompt_tokens = request.request_id
            for position, completion in zip(positions, completions, strict=True):
                # The prompt is read once for all samples of a request.
                read = prompt_tokens if position == positions[0] else 0
                text, generated = clean(completion.text), len(completion.token_ids)
                found[name][position] = Reply(text, completion.finish_reason, read, generated)
        return found

    def _prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        literal = self._literal
        spelled = any(literal.concerns(content) for _, content in messages)
        turns = [{"role": role, "content": literal.hide(content) if spelled else content} for role, content in messages]
        try:
            text = self._chat.text(turns, answer_follows=True)
        except BadInput:
            # Some templates have no system turn: its text then begins the first user turn.
            system, first, *rest = turns
            opened = {"role": "user", "content": f"{system['content']}\n\n{first['content']}"}
            text = self._chat.text([opened, *rest], answer_follows=True)
        if spelled:
            return encode(literal.tokenizer, literal.show(literal.respell(text)))
        return encode(self._engine.tokenizer, text)
