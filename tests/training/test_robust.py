"""What --robust, swap and new put into a config to keep a run going."""

from mmengine.config import Config

from cvt_backbone.training.robust import add_robust, dropped_hooks

EPOCHS = dict(
    train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
    train_dataloader=dict(num_workers=2),
    val_dataloader=dict(num_workers=2),
    default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=3), logger=dict(type='LoggerHook')),
)
WORKER = dict(num_workers=2, worker_init_fn=dict(type='start_worker'))


def changed(**settings):
    cfg = Config({**EPOCHS, **settings})
    add_robust(cfg)
    return cfg


def test_an_existing_config():
    cfg = changed(custom_imports=dict(imports='os', allow_failed_imports=True))
    assert cfg.to_dict() == dict(
        train_cfg=dict(type='ResumableEpochLoop', max_epochs=2, val_interval=1),
        train_dataloader=WORKER,
        val_dataloader=WORKER,
        default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook', interval=3), logger=dict(type='LoggerHook')),
        custom_hooks=[dict(type='RandomStateHook'), dict(type='FiniteLossHook')],
        custom_imports=dict(imports=['os', 'cvt_backbone'], allow_failed_imports=True),
    )


def test_what_a_config_has_of_its_own_stays():
    own = dict(
        train_cfg=dict(type='MyLoop', max_epochs=2),
        train_dataloader=dict(worker_init_fn=dict(type='mine')),
        default_hooks=dict(checkpoint=dict(type='MyCheckpointHook')),
        custom_hooks=[dict(type='FiniteLossHook'), dict(type='EMAHook')],
        custom_imports=dict(imports=['cvt_backbone'], allow_failed_imports=False),
    )
    cfg = changed(**own)
    assert cfg.custom_hooks == [*own.pop('custom_hooks'), dict(type='RandomStateHook')]
    assert {key: cfg.to_dict()[key] for key in own} == own


def test_iteration_based_loops_and_configs_without_validation():
    loop = dict(by_epoch=False, max_iters=9)
    cfg = changed(train_cfg=loop, val_dataloader=None, default_hooks={})
    assert cfg.train_cfg == loop
    assert cfg.val_dataloader is None
    assert not cfg.default_hooks


def test_twice_is_once():
    cfg = changed()
    before = cfg.to_dict()
    add_robust(cfg)
    assert cfg.to_dict() == before


def test_hooks_that_a_child_s_list_drops():
    ours = dict(default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook')))
    assert dropped_hooks(Config({**ours, 'custom_hooks': [dict(type='EMAHook'), dict(type='FiniteLossHook')]})) == [
        'RandomStateHook'
    ]
    assert (
        dropped_hooks(Config({**ours, 'custom_hooks': [dict(type='RandomStateHook'), dict(type='FiniteLossHook')]}))
        == []
    )
    assert dropped_hooks(Config(EPOCHS)) == [], "another's runtime never had them"


def test_hooks_and_loops_by_class():
    from mmengine.hooks import CheckpointHook, EMAHook
    from mmengine.runner import EpochBasedTrainLoop

    from cvt_backbone.training import FiniteLossHook

    cfg = changed(
        train_cfg=dict(type=EpochBasedTrainLoop, max_epochs=2),
        default_hooks=dict(checkpoint=dict(type=CheckpointHook)),
        custom_hooks=[dict(type=FiniteLossHook), dict(type=EMAHook)],
    )
    assert cfg.train_cfg.type == 'ResumableEpochLoop'
    assert cfg.default_hooks.checkpoint.type == 'AtomicCheckpointHook'
    assert [hook.type for hook in cfg.custom_hooks] == [FiniteLossHook, EMAHook, 'RandomStateHook']
