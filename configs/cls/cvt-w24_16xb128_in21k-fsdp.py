# 16 GPUs x 128 images = 2048 per step, sharded; start it by tools/dist_train.sh or tools/slurm_train.sh.
_base_ = ['./cvt-w24_16xb128_in21k.py', '../_base_/strategies/fsdp.py']

# The backbone's own checkpointing of activations: mmengine's (strategy.activation_checkpointing) would move the running
# statistics of every batch norm twice per step.
model = dict(backbone=dict(with_cp=True))
