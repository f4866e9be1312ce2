"""Configs: found by name, read, looked into, changed."""

from .edit import add_import, check_not_base, move_data_root, settle_work_dir
from .names import SCOPES, config_path, list_configs, shipped, toolbox_folder
from .new_style import by_names, is_new_style
from .parts import as_list, check_dict, datasets_of, dicts, find_owner, image_channels, scope_of
from .pretrained import (
    check_source,
    drop_pretrained,
    drop_weights,
    set_pretrained,
    sources_of,
    without_pretrained,
    zoo_address,
)
from .read import get_config, import_quietly, import_toolbox, load_config

__all__ = [
    'SCOPES',
    'add_import',
    'as_list',
    'by_names',
    'check_dict',
    'check_not_base',
    'check_source',
    'config_path',
    'datasets_of',
    'dicts',
    'drop_pretrained',
    'drop_weights',
    'find_owner',
    'get_config',
    'image_channels',
    'import_quietly',
    'import_toolbox',
    'is_new_style',
    'list_configs',
    'load_config',
    'move_data_root',
    'scope_of',
    'set_pretrained',
    'settle_work_dir',
    'shipped',
    'sources_of',
    'toolbox_folder',
    'without_pretrained',
    'zoo_address',
]
