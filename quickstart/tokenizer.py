"""The quickstart's tokenizer: one token per atom of the strides task, and decoding gives the text back exactly."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from misstep.problems.strides import ATOMS

SPECIAL = ("<pad>", "<eos>", "<unk>")
# Longest match first is what an alternation does not do by itself: an index before the bare number it starts with.
_ATOM = r"start |: |#### |\d\.|[a-z] |\d+|\?|\n"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer: atoms as words, no beginning-of-text token, nothing added around a text."""
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *ATOMS))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(_ATOM), behavior="isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        model_max_length=128,
        clean_up_tokenization_spaces=False,
    )
