"""The quickstart's tokenizer: one token per atom of the strides task, and decoding is exact."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from misstep.problems.strides import MAX_LENGTH, atoms

PAD, EOS, UNK = SPECIAL = ("<pad>", "<eos>", "<unk>")
# A state has two digits and a position one: the longer match is tried first.
_ATOM = r"start |: |#### |[a-z] |\d\d|\d|\?|\n"


def build_tokenizer(positions: int = MAX_LENGTH) -> PreTrainedTokenizerFast:
    """Build the tokenizer for problems of up to so many operations: atoms as words, no beginning-of-text token, nothing
    added around a text."""
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *atoms(positions)))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(_ATOM), behavior="isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        padding_side="left",
        model_max_length=128,
        clean_up_tokenization_spaces=False,
    )
