"""Models that carry a state from token to token are trained on plain rows: padded on the right, never packed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tools.tiny_models import RECURRENT, tiny_model

from misstep.training.rows import PairRow, SftRow
from misstep.training.shared_prefix import why_not
from misstep.training.trainers import collate_pairs, collate_sft


def ids_of(length: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(5, 40, length).astype(np.int32)


@pytest.mark.parametrize("name", RECURRENT)
def test_padding_changes_no_logit_of_a_row(name):
    model = tiny_model(name)
    texts = [ids_of(length, length) for length in (3, 9, 14)]
    pair = collate_pairs([PairRow(texts[0], texts[1], texts[2])], pad_id=0)
    sides = [np.concatenate([texts[0], side]) for side in texts[1:]]
    sft = collate_sft([SftRow(text, 2) for text in texts], pad_id=0)
    for batch, rows in ((sft, texts), (pair, sides)):
        with torch.inference_mode():
            found = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
            for row, ids in zip(found, rows, strict=True):
                expected = model(input_ids=torch.from_numpy(ids.astype(np.int64))[None], use_cache=False).logits[0]
                torch.testing.assert_close(row[: len(ids)], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", RECURRENT)
def test_pairs_are_not_packed(name):
    assert why_not(tiny_model(name)) is not None
