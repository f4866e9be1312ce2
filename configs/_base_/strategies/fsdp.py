# Parameters, gradients and optimiser state lie in shards, one on each process, and one block of CvT at a time is
# gathered. Checkpoints are whole files, as those of a model that is not sharded.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='cvt_backbone.training.fsdp.FSDPStrategy',
    model_wrapper=dict(type='MMFullyShardedDataParallel', auto_wrap_policy='cvt_backbone.training.fsdp.is_block'),
    state_dict_cfg='full',
)
