from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.distributed.micro_batches import micro_batch_rows
from misstep.errors import BadInput
from misstep.training.schedule import MicroBatches, make_schedule
from misstep.training.selection import Score, Selection
from tests.training.small import optimiser

lengths = st.lists(st.integers(1, 50), min_size=1, max_size=90)
sizes = st.sampled_from([(8, 8), (8, 2), (6, 3), (64, 64), (1, 1)])


@given(lengths, sizes, st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_holds_every_row_once(row_lengths, size: tuple[int, int], seed, epoch):
    batches = MicroBatches(row_lengths, *size, seed)
    batches.set_epoch(epoch)
    micro = list(batches)
    assert sorted(row for part in micro for row in part) == list(range(len(row_lengths)))
    assert len(micro) == len(batches)
    assert all(1 <= len(part) <= size[1] for part in micro)
    accumulation = size[0] // size[1]
    steps = [micro[i : i + accumulation] for i in range(0, len(micro), accumulation)]
    assert len(steps) == math.ceil(len(row_lengths) / size[0])
    assert all(sum(map(len, step)) == size[0] for step in steps[:-1])
    parts = [len(part) for part in steps[-1]]
    assert max(parts) - min(parts) <= 1


@given(lengths, st.sampled_from([(8, 2, 4), (8, 1, 2), (6, 3, 2), (12, 2, 3), (5, 1, 5)]), st.integers(0, 5))
def test_processes_together_have_the_batches_of_one(row_lengths, size, seed):
    batch, micro, processes = size
    whole = MicroBatches(row_lengths, batch, batch, seed)
    whole.set_epoch(1)
    of_ranks = []
    for rank in range(processes):
        batches = MicroBatches(row_lengths, batch, micro, seed, rank, processes)
        batches.set_epoch(1)
        of_ranks.append(list(batches))
        assert len(of_ranks[-1]) == len(batches)
        assert all(len(part) <= micro for part in of_ranks[-1])
    assert len(set(map(len, of_ranks))) == 1  # all keep step
    accumulation = batch // (micro * processes)
    for index, step in enumerate(whole):
        parts = [part for rank in of_ranks for part in rank[index * accumulation : (index + 1) * accumulation]]
        assert sorted(row for part in parts for row in part) == sorted(step)
        sizes_of_parts = [len(part) for part in parts]
        assert max(sizes_of_parts) - min(sizes_of_parts) <= 1


def test_the_micro_batch_of_several_processes():
    assert micro_batch_rows(optimiser(), 2) == 4  # the whole batch, shared
    assert micro_batch_rows(optimiser(micro_batch_size=2), 4) == 2
    assert make_schedule(20, optimiser(micro_batch_size=2), 2).accumulation == 2
    with pytest.raises(BadInput, match=r"batchSize \(spec.training\): 8\. Its rows are shared by 3 processes"):
        micro_batch_rows(optimiser(), 3)
    with pytest.raises(BadInput, match=r"microBatchSize \(spec.training\): 4\. Times 4 processes"):
        micro_batch_rows(optimiser(micro_batch_size=4), 4)


@given(st.sampled_from([6, 8, 12, 64]), st.sampled_from([1, 2]))
def test_a_batch_that_ran_out_of_memory_is_not_tried_again(batch, processes):
    settings = optimiser(batch_size=batch, micro_batch_size=batch)
    tried = micro_batch_rows(settings, processes)
    while tried > 1:
        smaller = micro_batch_rows(settings, processes, tried)
        assert smaller <= tried / 2
        assert batch % (smaller * processes) == 0
        tried = smaller
    with pytest.raises(BadInput, match="Not even a single row"):
        micro_batch_rows(settings, processes, 1)


@given(lengths, sizes, st.integers(0, 5))
def test_which_rows_share_a_step_depends_on_seed_and_epoch_alone(row_lengths, size: tuple[int, int], seed):
    def steps(of: list[int], epoch: int) -> list[set[int]]:
        whole = MicroBatches(of, size[0], size[0], seed)
        whole.set_epoch(epoch)
        return [set(batch) for batch in whole]

    assert steps(row_lengths, 1) == steps(row_lengths[::-1], 1)
    split = MicroBatches(row_lengths, *size, seed)
    split.set_epoch(1)
    micro, accumulation = list(split), size[0] // size[1]
    joined = [set().union(*micro[i : i + accumulation]) for i in range(0, len(micro), accumulation)]
    assert joined == steps(row_lengths, 1)


def test_epochs_and_seeds_have_orders_of_their_own():
    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = MicroBatches([1] * 64, 4, 4, seed)
        batches.set_epoch(epoch)
        return list(batches)

    assert len({str(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
    assert order(1, 2) == order(1, 2)


def test_rows_are_dealt_to_micro_batches_by_length():
    row_lengths = [5, 1, 4, 2, 3, 6]
    micro = [[row_lengths[row] for row in part] for part in MicroBatches(row_lengths, 6, 2, seed=0)]
    assert micro == [[6, 5], [4, 3], [2, 1]]


@given(st.integers(1, 3000), st.integers(1, 40), st.integers(0, 100))
def test_the_schedule_of_a_run(rows, epochs, percent):
    schedule = make_schedule(rows, optimiser(epochs=epochs, warmup_percent=percent))
    assert schedule.steps == epochs * math.ceil(rows / 8)
    assert 0 <= schedule.warmup_steps <= schedule.steps
    assert schedule.steps / schedule.log_every < 400
    assert schedule.scoring_steps((1, 3, 99)) == {min(e, epochs) * schedule.steps_per_epoch for e in (1, 3, epochs)}


def test_a_micro_batch_that_does_not_divide_is_refused():
    with pytest.raises(BadInput, match=r"microBatchSize \(spec.training\): 3\. It must divide batchSize, 8"):
        make_schedule(10, optimiser(micro_batch_size=3))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.sampled_from([None, 1, 2, 3]))
def test_selection_keeps_the_earliest_best_and_stops_for_want_of_better(scores, patience):
    selection = Selection(patience)
    for epoch, correct in enumerate(scores, 1):
        if selection.exhausted:
            break
        improved = correct > max((s.correct for s in selection.scores), default=-1)
        score = Score(epoch, 10 * epoch, 5, correct)
        selection.add(score)
        assert (selection.best is score) == improved
    seen = [s.correct for s in selection.scores]
    assert selection.best is not None
    assert selection.best.epoch == seen.index(max(seen)) + 1
    since = len(seen) - selection.best.epoch
    assert selection.exhausted == (patience is not None and since >= patience)
    assert patience is None or since <= patience
    assert Selection(patience, scores=[Score(**s) for s in selection.as_json()]).best == selection.best
