"""Never imports. mmengine tries it for a config marked with the scope cvt_backbone: the error says what to write.

CvT is registered in mmengine's root registry, which every scope reaches, so that there is no scope of this name.
"""

from mmengine.registry import DefaultScope

from .configs.mmengine_hub import NO_SCOPE
from .errors import InputError

_scope = DefaultScope.get_current_instance()
if _scope is not None and _scope.scope_name == 'cvt_backbone':
    raise InputError(f'config: the model {NO_SCOPE}')
# For ``type='cvt_backbone.CvT'`` mmengine ignores this error, then imports the class by its name.
raise ImportError("cvt_backbone has no registry of its own; CvT is in mmengine's root registry")
