"""Stages that cannot fit are refused, with settings that do fit."""

from __future__ import annotations

import re

import pytest

from misstep.cost import PlanCost, plan_cost
from misstep.cost.architecture import architecture_from, known_architecture
from misstep.cost.fit import refuse_misfits
from misstep.cost.memory import Memory, lora_parameters
from misstep.cost.show import notes
from misstep.errors import BadInput
from misstep.plan.frozen import External
from misstep.plan.planner import plan
from misstep.spec import parse_experiment

LLAMA = "meta-llama/Llama-2-7b-hf"


def cost_of(resources: str, hub: str = LLAMA) -> PlanCost:
    made = parse_experiment(f"""
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {{name: e}}
spec:
  problems:
    train: {{format: strides, limit: 400}}
    test: {{format: strides, limit: 100}}
    sizes: [100]
  policy: {{model: {{path: base}}}}
  sampling: {{engine: vllm, dtype: bfloat16}}
  training: {{sft: {{dtype: bfloat16, batchSize: 64, microBatchSize: 8}}}}
  arms: [{{name: sft, method: sft}}, {{name: rft, method: rft}}]
  resources: {{{resources}}}
""")
    planned = plan(made, {"model": External(uri="x", digest="sha256:1")})
    return plan_cost(planned, known_architecture(hub), made.spec.assumptions)


def refusal(cost: PlanCost) -> str:
    with pytest.raises(BadInput) as caught:
        refuse_misfits(cost)
    return str(caught.value)


def sft_memory(cost: PlanCost) -> Memory:
    found = cost.stages["sft-d100-s0"].most_memory
    assert found is not None
    return found


def test_seven_billion_parameters_do_not_train_on_one_gpu() -> None:
    said = refusal(cost_of("sft: {gpus: 1, gpuMemory: 80Gi, batchRows: 16}"))
    assert said.startswith("spec.resources.sft: stage sft-d100-s0 needs")
    assert "the largest part is AdamW, 50.3 GiB" in said
    fixes = re.findall(r"zeroStage (\d) on (\d) GPUs needs ([\d.]+) GiB", said)
    assert fixes
    for zero, gpus, size in fixes:
        fixed = cost_of(f"sft: {{gpus: {gpus}, gpuMemory: 80Gi, batchRows: 16, zeroStage: {zero}}}")
        refuse_misfits(fixed)
        assert sft_memory(fixed).mib / 1024 == pytest.approx(float(size), abs=0.1)


def test_validation_answers_with_the_optimiser_state_in_memory_are_counted() -> None:
    """Each of two processes answers half of 200 problems, at half a MiB a token."""
    said = refusal(cost_of("sft: {gpus: 2, gpuMemory: 80Gi, zeroStage: 2, batchRows: 256}"))
    fixed = re.search(r"What fits: batchRows (\d+) needs", said)
    assert fixed
    assert int(fixed[1]) < 100
    refuse_misfits(cost_of(f"sft: {{gpus: 2, gpuMemory: 80Gi, zeroStage: 2, batchRows: {fixed[1]}}}"))


def test_vllm_needs_its_weights_inside_its_share() -> None:
    said = refusal(cost_of("sample: {gpus: 1, gpuMemory: 16Gi}"))
    assert said.startswith("spec.resources.sample")
    assert "gpus 2 needs" in said
    refuse_misfits(cost_of("sample: {gpus: 2, gpuMemory: 16Gi}"))


def test_heads_are_spread_evenly() -> None:
    said = refusal(cost_of("sample: {gpus: 3}"))
    assert said.startswith("spec.resources.sample.gpus: 3")
    assert "32 attention heads" in said
    assert "use one of 1, 2" in said


def test_without_gpu_memory_nothing_is_refused_and_that_is_said() -> None:
    cost = cost_of("sft: {gpus: 1}, sample: {gpus: 1}")
    refuse_misfits(cost)
    assert any("gpuMemory is not given: sample, sft" in line for line in notes(cost))


def test_a_process_that_outgrows_its_memory_is_noted_and_not_refused() -> None:
    cost = cost_of("sft: {memory: 2Gi}")
    refuse_misfits(cost)
    assert any("sft" in line and "of 2.0 GiB" in line for line in notes(cost))


def test_nothing_fits_where_even_the_weights_do_not() -> None:
    said = refusal(cost_of("sft: {gpus: 1, gpuMemory: 2Gi, batchRows: 1}"))
    assert "a smaller model" in said


def test_zero_spreads_sixteen_bytes_a_parameter() -> None:
    """ZeRO (arXiv 1910.02054): of 16 bytes a parameter, stage 2 leaves 2 on every GPU, stage 3 none."""

    def states(zero: int, gpus: int) -> float:
        names = ("weights", "gradients", "AdamW", "float32 copy and AdamW")
        cost = cost_of(f"sft: {{gpus: {gpus}, zeroStage: {zero}}}")
        return sum(t.mib for t in sft_memory(cost).terms if t.name in names) * 1024**2 / 6_738_415_616

    assert states(0, 1) == pytest.approx(16)
    assert states(2, 8) == pytest.approx(2 + 14 / 8)
    assert states(3, 8) == pytest.approx(16 / 8)


def test_adapters_are_as_many_as_peft_makes() -> None:
    """And so is their optimiser state."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
        adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    shape = architecture_from("small", config.to_dict())
    assert shape is not None
    assert lora_parameters(shape, 4) == sum(w.numel() for w in adapted.parameters() if w.requires_grad)
