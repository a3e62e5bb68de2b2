r"""Gold answers out of what data sets give: a bare answer, or a solution that ends in one."""

from __future__ import annotations

from misstep.verification.extract import AnswerFormat, extract_answer


def gold_answer(text: str) -> str:
    r"""Return the final answer of a gold solution (GSM8K's ``#### 18``, MATH's last ``\boxed{18}``).

    A text with neither is itself the answer. Empty where the solution's own mark holds nothing.
    """
    if "####" in text:
        return extract_answer(text, AnswerFormat.HASH).answer or ""
    if r"\boxed" in text or r"\fbox" in text:
        return extract_answer(text, AnswerFormat.BOXED).answer or ""
    return text.strip()
