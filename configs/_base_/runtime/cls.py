# What every classification config runs with: mmpretrain's runtime, checkpoints that are whole or not there, runs that
# resume exactly, losses that stay finite. A config with custom_hooks of its own replaces the list: repeat these there.
_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['cvt_backbone'], allow_failed_imports=False)
default_hooks = dict(checkpoint=dict(type='AtomicCheckpointHook'))
custom_hooks = [dict(type='RandomStateHook'), dict(type='FiniteLossHook')]
