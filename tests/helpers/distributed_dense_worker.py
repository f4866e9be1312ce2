"""What test_distributed_dense.py starts in two processes: a model of each config of a folder, in DDP.

The first process writes what was found; what goes wrong in either is an error of the whole.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from mmdet.models.task_modules.samplers import RandomSampler
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, distributed, nn

from cvt_backbone.analysis import trial
from cvt_backbone.configs import load_config
from cvt_backbone.errors import TrainingStopped
from cvt_backbone.models import build_random
from cvt_backbone.training.finite_loss import FiniteLossHook
from cvt_backbone.training.launch import leave
from helpers.distributed_worker import gradients

SIZE = (64, 96)
IMAGES = 4
STEPS = 3


def take_first(sampler: RandomSampler, gallery: Tensor, num: int) -> Tensor:
    """In the place of drawing at random: the same boxes of an image, in whichever process it is."""
    return gallery[:num]


def prepare(cfg: Config) -> tuple[nn.Module, list[dict[str, Any]]]:
    """The same model and images in every process."""
    RandomSampler.random_choice = take_first
    torch.manual_seed(0)
    model = build_random(cfg, SIZE)
    batch = trial.random_batch(cfg, SIZE, IMAGES)
    return model, [dict(inputs=i, data_samples=s) for i, s in zip(*batch.values(), strict=True)]


def in_ddp(model: nn.Module) -> nn.Module:
    """As tools/launch.py has mmengine wrap it on CPUs."""
    settings = dict(type='MMDistributedDataParallel', broadcast_buffers=False, find_unused_parameters=False)
    return MODEL_WRAPPERS.build(dict(**settings, module=model))


def train(ddp: nn.Module, images: list[dict[str, Any]]) -> None:
    """Some steps, before each of which DDP finds out whether the last one has used every parameter."""
    ddp.train()
    wrapper = OptimWrapper(torch.optim.SGD(ddp.parameters(), lr=1e-3))
    for _ in range(STEPS):
        ddp.train_step(collate(images), wrapper)


def collate(images: list[dict[str, Any]]) -> dict[str, list]:
    return {key: [image[key] for image in images] for key in images[0]}


class Overflow(nn.Module):
    """Finite in, infinite out."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.inf


def stop(ddp: nn.Module, images: list[dict[str, Any]], is_bad: bool) -> str:
    """What FiniteLossHook says if a module of this process, or of another one, overflows."""
    loop = SimpleNamespace(max_iters=10)
    wrapper = OptimWrapper(torch.optim.SGD(ddp.parameters(), lr=1e-3))
    state = dict(model=ddp, iter=6, work_dir='work', train_loop=loop, optim_wrapper=wrapper)
    hook, runner = FiniteLossHook(), SimpleNamespace(**state)
    hook.before_train(runner)
    before = [p.detach().clone() for p in ddp.parameters()]
    if is_bad:
        ddp.module.backbone.stage0.blocks[0].shortcut = Overflow()
    try:
        ddp.train_step(collate(images), wrapper)
    except TrainingStopped as error:
        assert all(map(torch.equal, before, ddp.parameters()))
        return str(error)
    raise AssertionError('the training was not stopped')


def main() -> None:
    """Arguments: a folder of configs, the file to write."""
    folder, out = map(Path, sys.argv[1:])
    distributed.init_process_group('gloo')
    rank, world = distributed.get_rank(), distributed.get_world_size()
    share = range(rank * IMAGES // world, (rank + 1) * IMAGES // world)
    found = {}
    for path in sorted(folder.glob('*.py')):
        model, images = prepare(load_config(str(path)))
        ddp = in_ddp(model)
        found[path.stem] = {'gradients': gradients(ddp, images, share, norm_eval=True)}
        mine = [images[i] for i in share]
        train(ddp, mine)
        messages: list[Any] = [None] * world
        distributed.all_gather_object(messages, stop(ddp, mine, is_bad=rank == 1))
        found[path.stem]['messages'] = messages
    if rank == 0:
        torch.save(found, out)
    leave()


if __name__ == '__main__':
    main()
