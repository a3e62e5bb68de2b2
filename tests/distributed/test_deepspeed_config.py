from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from misstep.distributed.deepspeed_config import deepspeed_config
from tests.training.small import optimiser


def test_the_configuration_of_a_large_model_on_gpus():
    found = deepspeed_config(
        optimiser(dtype="bfloat16", max_grad_norm=0.5), 3, micro_batch=2, accumulation=4, processes=8, on_cpu=False
    )
    assert found == {
        "zero_optimization": {
            "stage": 3,
            "overlap_comm": True,
            "contiguous_gradients": True,
            "reduce_bucket_size": 100_000_000,
            "stage3_prefetch_bucket_size": 10_000_000,
            "stage3_param_persistence_threshold": 100_000,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        "zero_allow_untested_optimizer": True,
        "train_micro_batch_size_per_gpu": 2,
        "gradient_accumulation_steps": 4,
        "train_batch_size": 64,
        "gradient_clipping": 0.5,
        "bf16": {"enabled": True},
        "fp16": {"enabled": False},
        "steps_per_print": 1_000_000_000,
    }


@given(st.sampled_from([0, 2, 3]), st.integers(1, 64), st.integers(1, 16), st.integers(1, 64), st.booleans())
def test_nothing_is_left_for_others_to_fill_in(stage, micro, accumulation, processes, on_cpu):
    def values(of: Any) -> list[Any]:
        return [v for value in of.values() for v in values(value)] if isinstance(of, dict) else [of]

    found = deepspeed_config(
        optimiser(), stage, micro_batch=micro, accumulation=accumulation, processes=processes, on_cpu=on_cpu
    )
    assert "auto" not in values(found)
    assert found["zero_optimization"]["stage"] == stage
    assert found["train_batch_size"] == micro * accumulation * processes
    # With either of these DeepSpeed would set rates of its own: the trainer does, as it does in one process.
    assert not {"scheduler", "optimizer"} & found.keys()
