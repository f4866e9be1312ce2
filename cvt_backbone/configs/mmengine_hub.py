"""``cvt_backbone::PATH`` in mmengine: ``mmengine.hub.get_config`` takes it, ``_base_`` does not."""

from mmengine.config.utils import MODULE2PACKAGE

# mmengine looks a package's folder up in pip's records. For an editable install those do not name it, and the original
# line then makes up a folder. A module of the package has no record, so that both lines import it and take its folder.
MODULE2PACKAGE['cvt_backbone'] = 'cvt_backbone.version'

NO_SCOPE = (
    "inherits 'cvt_backbone::PATH'; mmengine then looks for mmdet's, mmseg's or mmpretrain's classes in a scope "
    "cvt_backbone, which does not exist; write _base_ = __import__('cvt_backbone').config_path('PATH')"
)
