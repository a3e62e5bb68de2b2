"""Make the example of `misstep credit`: responses of the quickstart's base model to problems of its task.

Run from the repository's root: `python quickstart/make_responses.py`.
It writes `examples/strides-responses.jsonl`: problems, gold answers and responses, four of each problem. It takes
seconds on one core.
"""

from __future__ import annotations

import json
from pathlib import Path

from misstep.generation.engine import Request
from misstep.generation.seeds import sample_seed
from misstep.generation.text import encode
from misstep.generation.transformers_engine import load_engine
from misstep.plan.params import DecodingParams
from misstep.problems.strides import generate

EXAMPLES = Path(__file__).parents[1] / "examples"
OUT = EXAMPLES / "strides-responses.jsonl"
PROBLEMS, RESPONSES = 24, 4
DECODING = DecodingParams(engine="transformers", dtype="float32", temperature=1.0, top_p=1.0, max_new_tokens=48)


def make() -> str:
    """Return the file's text."""
    problems = list(generate("validation", PROBLEMS, seed=0))
    engine = load_engine(EXAMPLES / "quickstart-base", DECODING, batch_rows=PROBLEMS * RESPONSES, threads=1)
    for number, problem in enumerate(problems):
        prompt = encode(engine.tokenizer, f"{problem.question}\n")
        engine.submit(Request(number, prompt, [sample_seed(0, "example", number, n) for n in range(RESPONSES)]))
    texts = {request.request_id: [done.text for done in completions] for request, completions in engine.results()}
    rows = (
        {"question": problem.question, "answer": problem.gold, "response": text}
        for number, problem in enumerate(problems)
        for text in texts[number]
    )
    return "".join(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    OUT.write_text(make(), encoding="utf-8")
    print(f"written to {OUT}")
