from mmengine.config import Config

from mmseg_incremental.engine.model_config import rename_types


def test_rename_types():
    node = Config(
        dict(
            a=dict(type='SyncBN', b=[dict(type='SyncBN'), 1]),
            c=(dict(type='ReLU'), ),
            d=dict(type=int)))
    rename_types(node._cfg_dict, dict(SyncBN='BN'))
    assert node.a == dict(type='BN', b=[dict(type='BN'), 1])
    assert node.c[0].type == 'ReLU' and node.d.type is int
