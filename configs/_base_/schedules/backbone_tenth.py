# The parameter rule of DETR-like recipes with CvT: the backbone learns at a tenth of the lr.
# A custom key takes a parameter out of every other rule. So `backbone` spares what adamw.py spares, and the longer
# keys, which win over it, bring back the decay of the backbone's weights.
decayed = dict(lr_mult=0.1, decay_mult=1.0)
backbone_tenth = dict(
    norm_decay_mult=0.0,
    bias_decay_mult=0.0,
    custom_keys={
        'backbone': dict(lr_mult=0.1, decay_mult=0.0),
        'patch_embed.proj.weight': decayed,
        'attn.conv_proj_q.conv.weight': decayed,
        'attn.conv_proj_k.conv.weight': decayed,
        'attn.conv_proj_v.conv.weight': decayed,
        'attn.proj_q.weight': decayed,
        'attn.proj_k.weight': decayed,
        'attn.proj_v.weight': decayed,
        'attn.proj.weight': decayed,
        'mlp.fc1.weight': decayed,
        'mlp.fc2.weight': decayed,
        'in_proj_bias': dict(decay_mult=0.0),  # of nn.MultiheadAttention; mmengine knows `bias` alone
    },
)
