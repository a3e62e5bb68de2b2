"""Real tokenizers of the three kinds that decode differently: byte-level BPE, SentencePiece style, whole
atoms."""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "She has 3 apples. She buys 12 more.\nNow she has 3 + 12 = 15 apples.\n\n#### 15",
    "Let $x = 3.5$. Then \\[ 2x = 7 \\] and so on.\nThe answer is $\\boxed{7}$.",
    "5 × 4 = 20\n\n20 ÷ 2 = 10\n#### 10",
] * 4


@cache
def byte_level() -> PreTrainedTokenizerFast:
    """Spread characters beyond ASCII over several tokens: the vocabulary is trained on ASCII alone."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<eos>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    ascii_only = (text.encode("ascii", "ignore").decode() for text in CORPUS)
    tokenizer.train_from_iterator(ascii_only, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")


@cache
def sentencepiece() -> PreTrainedTokenizerFast:
    """Write a space before the first word and drop it when decoding; unknown characters fall back to
    bytes."""
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    words = sorted({f"▁{word}" for text in CORPUS for word in text.replace("\n", " ").split()})
    letters = sorted({letter for text in CORPUS for letter in text} - {"\n", "×", "÷"})
    pieces = ["<unk>", "<eos>", *bytes_, "▁", "\n", *dict.fromkeys(letters), *words]
    vocabulary = [(piece, -float(rank)) for rank, piece in enumerate(dict.fromkeys(pieces))]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>")


@cache
def atoms() -> PreTrainedTokenizerFast:
    """Decode by joining: one token a character."""
    letters = sorted({letter for text in CORPUS for letter in text})
    tokenizer = Tokenizer(
        models.WordLevel({"<eos>": 0, "<unk>": 1, **{a: i + 2 for i, a in enumerate(letters)}}, "<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>")
