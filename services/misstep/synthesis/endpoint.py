"""A teacher behind an API: many concurrent requests, within a budget."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from anyio import to_thread
from anyio.from_thread import start_blocking_portal

from misstep.synthesis.asks import Answer, Ask, NoReply
from misstep.synthesis.budget import Share, Usage, used, worst_case
from misstep.synthesis.client import Client
from misstep.synthesis.drafts import Author, Draft, Recipe, Seed
from misstep.synthesis.teacher import Work, left_out

T = TypeVar("T")
_LOOK_SECONDS = 0.5
Report = Callable[[int, Usage], None]
"""Called from time to time with the number of finished seeds of the block and what they have spent."""


class EndpointTeacher:
    """Runs recipes on an event loop in a separate thread, so that signals still reach the main thread."""

    def __init__(self, client: Client, report: Report) -> None:
        self._client, self._report = client, report
        self._open = ExitStack()
        self._portal = self._open.enter_context(start_blocking_portal())
        self._open.enter_context(self._portal.wrap_async_context_manager(client))

    def close(self) -> None:
        self._open.close()

    def work(self, author: Author, seeds: Sequence[Seed], share: Share) -> Work:
        """Run a block. Raises what the client and the author's monitor raise; nothing is left running then."""
        block = _Block(self._client, author, share)
        future = self._portal.start_task_soon(block.run, seeds)
        try:
            while True:
                try:
                    drafts = future.result(timeout=_LOOK_SECONDS)
                    break
                except TimeoutError:
                    if future.done():  # its own
                        raise
                    self._report(block.done, block.usage)
        finally:
            future.cancel()
        self._report(block.done, block.usage)
        counts, retries = self._client.take_counts()
        return Work(drafts, block.usage, retries=retries, **counts)


class _Block:
    """The seeds of one block. Which of them fit into the budget depends only on their order and the answers.

    A seed starts once it fits in addition to the worst case of the running ones. Otherwise it waits until they have
    finished, and is left out only if it does not fit in addition to what they really spent. This is the same decision
    as if seeds were processed one by one.
    """

    def __init__(self, client: Client, author: Author, share: Share) -> None:
        self._client, self._author, self._share = client, author, share
        self._running: dict[asyncio.Task[tuple[list[Draft], Usage]], tuple[int, Usage]] = {}
        self._drafts: dict[int, list[Draft]] = {}
        self.usage = Usage()
        self.done = 0

    async def run(self, seeds: Sequence[Seed]) -> list[Draft]:
        try:
            for position, seed in enumerate(seeds):
                worst = worst_case(seed.question, self._author.params)
                while self._running and (
                    len(self._running) >= self._client.concurrency or not self._fits(worst, self._under_way())
                ):
                    await self._settle()
                if self._fits(worst, Usage()):
                    task = asyncio.create_task(self._seed(seed))
                    self._running[task] = (position, worst)
                else:
                    self._drafts[position] = left_out(seed, self._author.params.new_per_seed)
                    self.done += 1
            while self._running:
                await self._settle()
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
        return [draft for position in sorted(self._drafts) for draft in self._drafts[position]]

    def _under_way(self) -> Usage:
        total = Usage()
        for _, worst in self._running.values():
            total += worst
        return total

    def _fits(self, worst: Usage, others: Usage) -> bool:
        return self._share.allows(self.usage + others + worst)

    async def _settle(self) -> None:
        finished, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        for task in finished:
            position, _ = self._running.pop(task)
            drafts, usage = task.result()
            self._drafts[position] = drafts
            self.usage += usage
            self.done += 1

    async def _seed(self, seed: Seed) -> tuple[list[Draft], Usage]:
        found = await _all(self._recipe(recipe) for recipe in self._author.recipes(seed))
        usage = Usage()
        for _, one in found:
            usage += one
        return [draft for draft, _ in found], usage

    async def _recipe(self, recipe: Recipe) -> tuple[Draft, Usage]:
        usage = Usage()
        asks = next(recipe)
        while True:
            answers = await _all(self._client.ask(ask) for ask in asks)
            usage += used(answer for answer in answers if not isinstance(answer, NoReply))
            # In a thread, since the verifier may take long.
            step = await to_thread.run_sync(_send, recipe, answers)
            if isinstance(step, Draft):
                return step, usage
            asks = step


async def _all(each: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all concurrently; the first error cancels the others, and is raised unchanged."""
    tasks = [asyncio.create_task(one) for one in each]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _send(recipe: Recipe, answers: Sequence[Answer]) -> list[Ask] | Draft:
    """Send answers to a recipe; StopIteration must not propagate out of a thread."""
    try:
        return recipe.send(answers)
    except StopIteration as end:
        draft: Draft = end.value
        return draft
