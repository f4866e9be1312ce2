# Published weights, at the addresses of ../cls/metafile.yml, with the attention windows that suit them: in the first
# two stages they equal global attention at the size of pretraining. A config takes one by name:
#     model = dict(backbone=_base_.backbones.cvt_21)
# On the command line, pretrained=FILE_OR_FOLDER_OR_URL starts from other weights, pretrained=None from random ones.
backbones = dict(
    # ImageNet-1k, 224 pixels
    cvt_13=dict(
        type='CvT',
        arch='cvt-13',
        window_sizes=(56, 28, None),
        init_cfg=dict(
            type='Pretrained', checkpoint='https://huggingface.co/microsoft/cvt-13/resolve/main/pytorch_model.bin'
        ),
    ),
    cvt_21=dict(
        type='CvT',
        arch='cvt-21',
        window_sizes=(56, 28, None),
        init_cfg=dict(
            type='Pretrained', checkpoint='https://huggingface.co/microsoft/cvt-21/resolve/main/pytorch_model.bin'
        ),
    ),
    # ImageNet-22k, then ImageNet-1k at 384 pixels
    cvt_13_in22k=dict(
        type='CvT',
        arch='cvt-13',
        window_sizes=(96, 48, None),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://huggingface.co/microsoft/cvt-13-384-22k/resolve/main/pytorch_model.bin',
        ),
    ),
    cvt_21_in22k=dict(
        type='CvT',
        arch='cvt-21',
        window_sizes=(96, 48, None),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://huggingface.co/microsoft/cvt-21-384-22k/resolve/main/pytorch_model.bin',
        ),
    ),
    cvt_w24=dict(
        type='CvT',
        arch='cvt-w24',
        window_sizes=(96, 48, None),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://huggingface.co/microsoft/cvt-w24-384-22k/resolve/main/pytorch_model.bin',
        ),
    ),
    # the digits of tools/make_digits.py, 64 pixels: see weights/cvt-nano_digits.yml
    cvt_nano_digits=dict(
        type='CvT',
        arch='cvt-nano',
        window_sizes=None,
        init_cfg=dict(type='Pretrained', checkpoint='{{ fileDirname }}/weights/cvt-nano_digits.safetensors'),
    ),
)
