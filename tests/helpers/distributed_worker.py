"""What test_distributed.py starts in several processes; the first one writes what was found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.dist import get_dist_info
from mmengine.hooks import LoggerHook
from mmengine.registry import MODEL_WRAPPERS, MODELS, init_default_scope
from mmengine.runner import Runner
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FullyShardedDataParallel

from cvt_backbone.configs import load_config
from cvt_backbone.training.launch import leave, set_launcher
from helpers.config_checks import parameter_rates

IMAGES = 8


class SignedLogger(LoggerHook):
    """Leaves a file that tells which process wrote the results of an evaluation."""

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the results as mmengine does, and sign them."""
        super().after_test_epoch(runner, metrics)
        (Path(runner.work_dir) / f'results_of_process_{get_dist_info()[0]}').touch()


def gradients(model: nn.Module, dataset: Any, indices: range, norm_eval: bool) -> dict[str, Tensor]:
    """The gradient of the loss over the images, averaged over the processes where the model is DDP's."""
    model.train()
    for module in model.modules():
        if norm_eval and isinstance(module, nn.BatchNorm2d):
            module.eval()
    plain = getattr(model, 'module', model)
    data = plain.data_preprocessor(pseudo_collate([dataset[i] for i in indices]), training=True)
    model.zero_grad()
    loss, _ = plain.parse_losses(model(**data, mode='loss'))
    loss.backward()
    return {name: p.grad.clone() for name, p in plain.named_parameters()}


def save_gradients(cfg: Config, out: Path) -> None:
    """Of DDP's model, with batch norms that use running statistics and with such that use the batch's."""
    runner = Runner.from_cfg(cfg)
    rank, world = get_dist_info()
    dataset = runner.train_dataloader.dataset
    share = range(rank * IMAGES // world, (rank + 1) * IMAGES // world)
    found = {norm_eval: gradients(runner.model, dataset, share, norm_eval) for norm_eval in (True, False)}
    if rank == 0:
        torch.save({str(key): value for key, value in found.items()}, out)


def save_shards(cfg: Config, out: Path) -> None:
    """Of FSDP's model: units, parameters on each process, and lr and decay by name, plain and sharded."""
    init_default_scope(cfg.default_scope)
    plain = MODELS.build(cfg.model)
    total = sum(p.numel() for p in plain.parameters())
    rates = parameter_rates(plain, cfg.optim_wrapper)
    sharded = MODEL_WRAPPERS.build({**cfg.strategy.model_wrapper, 'module': plain})
    units = [type(m.module).__name__ for m in sharded.modules() if isinstance(m, FullyShardedDataParallel)]
    held: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(held, sum(p.numel() for p in sharded.parameters()))
    prefix = '_fsdp_wrapped_module.'
    sharded_rates = {
        name.replace(prefix, ''): rate for name, rate in parameter_rates(sharded, cfg.optim_wrapper).items()
    }
    if distributed.get_rank() == 0:
        torch.save(dict(total=total, units=units, held=held, rates=rates, sharded_rates=sharded_rates), out)


def main() -> None:
    """Arguments: what to do, a config, a folder for the runner, the file to write."""
    task, config, work_dir, out = sys.argv[1:]
    cfg = load_config(config, {'env_cfg.dist_cfg.backend': 'gloo', 'work_dir': work_dir})
    set_launcher(cfg, 'pytorch')
    {'gradients': save_gradients, 'shards': save_shards}[task](cfg, Path(out))
    leave()


if __name__ == '__main__':
    main()
