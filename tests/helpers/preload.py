"""What the fork server of :mod:`.prefork` imports: what tools/train.py, test.py and demo.py would."""

import contextlib
import warnings

import cvt_backbone  # noqa: F401
from cvt_backbone.configs import SCOPES
from cvt_backbone.configs.read import import_toolbox
from cvt_backbone.errors import InputError
from helpers import plain_configs

plain_configs()
with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    for scope in SCOPES:
        with contextlib.suppress(InputError):
            import_toolbox(scope)
