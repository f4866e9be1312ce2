"""Several processes: mmengine starts them on GPUs alone; here also on CPUs, for trying things out."""

from __future__ import annotations

import logging
import os
import sys
from importlib.util import find_spec

import torch
from mmengine.config import Config
from torch import distributed

from ..errors import InputError
from ..kinds import kind_of

# What tells which process of a launcher this is.
RANKS = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}


def set_launcher(cfg: Config, launcher: str) -> None:
    """Tell the runner who started the processes; without a GPU, do what mmengine then cannot.

    Args:
        cfg: The config, changed in place.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.

    Raises:
        InputError: The launcher started no process; or there is no GPU, and the launcher, the config's backend or this
            PyTorch needs one.
    """
    cfg.launcher = launcher
    rank = RANKS.get(launcher)
    if rank and rank not in os.environ:
        raise InputError(
            f'--launcher: {launcher} did not start this process, for {rank} is not set; use tools/dist_train.sh, '
            f'tools/slurm_train.sh or the like, or leave --launcher out'
        )
    if launcher == 'none' or torch.cuda.is_available():
        return
    backend = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('backend', 'nccl')
    if launcher != 'pytorch' or backend != 'gloo':
        raise InputError(
            f'--launcher: {launcher} with the backend {backend} needs GPUs and there is none; on CPUs use '
            f'--launcher pytorch --cfg-options env_cfg.dist_cfg.backend=gloo'
        )
    if 'strategy' in cfg and torch.__version__ < '2.2':
        raise InputError(
            f'strategy: PyTorch {torch.__version__} shards models on GPUs alone, and there is none; take a newer one '
            f'(2.11 is tested) or a config without strategy'
        )
    distributed.init_process_group('gloo')
    # mmengine would give DDP and FSDP a GPU's number.
    if 'strategy' in cfg:
        cfg.strategy.model_wrapper = {**cfg.strategy.get('model_wrapper', {}), 'device_id': 'cpu'}
        # That of `full` takes what is moved to the CPU for a copy: here it is not, and would be freed or overwritten.
        cfg.strategy.state_dict_cfg = dict(
            state_dict_type='FULL_STATE_DICT',
            state_dict_config=dict(type='FullStateDictConfig', rank0_only=True, offload_to_cpu=False),
            optim_state_dict_config=dict(type='FullOptimStateDictConfig', rank0_only=True, offload_to_cpu=False),
        )
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )


def leave(status: int = 0) -> None:
    """End this process with its process group if it is one of several; do nothing if it is alone.

    Over gloo it ends without Python's own clean-up: a thread of the group that frees a tensor in its course would abort
    the process (``terminate called without an active exception``), now and then, after all work is done.

    Args:
        status: Exit status.
    """
    if not distributed.is_initialized():
        return
    is_gloo = distributed.get_backend() == 'gloo'
    if status == 0:
        distributed.destroy_process_group()
    if is_gloo:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def check_strategy(cfg: Config) -> None:
    """Refuse what a strategy of mmengine's FlexibleRunner would refuse late or do wrongly without a word.

    Args:
        cfg: The config with its launcher, and with the chosen scaling of the learning rate and precision.

    Raises:
        InputError: A sharded model shall train in one process or clip gradients by their norm, the best checkpoint
            shall be kept, or DeepSpeed is not installed or is to do what mmengine does not pass on to it.
    """
    name = kind_of(cfg.get('strategy'))
    clip_grad = cfg.optim_wrapper.get('clip_grad') or {}
    if name == 'FSDPStrategy' and cfg.launcher == 'none':
        raise InputError(
            '--launcher: this config shards the model over several processes; start them by tools/dist_train.sh CONFIG '
            'PROCESSES, or by tools/slurm_train.sh'
        )
    if name == 'FSDPStrategy' and clip_grad and clip_grad.get('type', 'norm') == 'norm':
        raise InputError(
            'optim_wrapper.clip_grad: each process would clip by the norm of its own shard; give --cfg-options '
            'optim_wrapper.clip_grad=None, or train without FSDP'
        )
    if name and ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('save_best'):
        raise InputError(
            'default_hooks.checkpoint.save_best: FlexibleRunner then counts an epoch too many in what it saves, and '
            'skips it when it resumes; give --cfg-options default_hooks.checkpoint.save_best=None'
        )
    if name != 'DeepSpeedStrategy':
        return
    if find_spec('deepspeed') is None:
        raise InputError(
            'strategy: DeepSpeedStrategy needs the package deepspeed, which is not installed: pip install deepspeed, '
            'or take the config with FSDP'
        )
    if cfg.optim_wrapper.type != 'DeepSpeedOptimWrapper':
        raise InputError(
            f'optim_wrapper.type: DeepSpeedStrategy needs DeepSpeedOptimWrapper, got {cfg.optim_wrapper.type}; its '
            f'precision is set by strategy.fp16 or strategy.bf16, not by --amp'
        )
    if (cfg.get('auto_scale_lr') or {}).get('enable'):
        raise InputError(
            '--auto-scale-lr: mmengine does not scale the lr under DeepSpeed; give it by --cfg-options '
            'optim_wrapper.optimizer.lr=LR'
        )
