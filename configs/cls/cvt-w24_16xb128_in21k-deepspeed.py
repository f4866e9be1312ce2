# 16 GPUs x 128 images = 2048 per step, with ZeRO stage 2: optimiser state and gradients in shards. It needs the package
# deepspeed and was not run. DeepSpeed casts the whole model to fp16; its checkpoints are folders:
# docs/howto/distributed.md.
_base_ = './cvt-w24_16xb128_in21k.py'

model = dict(backbone=dict(with_cp=True))
runner_type = 'FlexibleRunner'
strategy = dict(
    type='DeepSpeedStrategy',
    zero_optimization=dict(stage=2, reduce_scatter=True, overlap_comm=True, contiguous_gradients=True),
    fp16=dict(enabled=True, loss_scale=0, initial_scale_power=16),  # 0: dynamic
    inputs_to_half=['inputs'],
)
optim_wrapper = dict(type='DeepSpeedOptimWrapper')
