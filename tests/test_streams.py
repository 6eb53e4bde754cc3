import torch

from usjepa.training.streams import Stream, batch_order, generator


def test_numbers_depend_on_seed_stream_and_step_alone() -> None:
    keys = [(seed, stream, step) for seed in (0, 1) for stream in Stream for step in (0, 1)]
    draws = [torch.rand(3, generator=generator(*key)).tolist() for key in keys]
    assert draws == [torch.rand(3, generator=generator(*key)).tolist() for key in keys]
    assert len(set(map(tuple, draws))) == len(keys)


def test_every_epoch_runs_once_through_the_clips_in_another_order() -> None:
    epochs = [[batch_order(0, 5 * epoch + step, batch=2, clips=11) for step in range(5)] for epoch in range(2)]
    for epoch in epochs:
        flat = [clip for batch in epoch for clip in batch]
        assert len(set(flat)) == 10
        assert set(flat) <= set(range(11))
    assert epochs[0] != epochs[1]
