"""Several processes: mmengine starts them on GPUs alone; here also on CPUs, for trying things out."""

from __future__ import annotations

import torch
from mmengine.config import Config
from torch import distributed

from common import InputError


def set_launcher(cfg: Config, launcher: str) -> None:
    """Tell the runner who started the processes; without a GPU, do what mmengine then cannot.

    Args:
        cfg: The config, changed in place.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.

    Raises:
        InputError: There is no GPU, and the launcher or the config's backend needs one.
    """
    cfg.launcher = launcher
    if launcher == 'none' or torch.cuda.is_available():
        return
    backend = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('backend', 'nccl')
    if launcher != 'pytorch' or backend != 'gloo':
        raise InputError(
            f'--launcher: {launcher} with the backend {backend} needs GPUs and there is none; on CPUs use '
            f'--launcher pytorch --cfg-options env_cfg.dist_cfg.backend=gloo'
        )
    distributed.init_process_group('gloo')
    # mmengine would give DDP a GPU's number.
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
