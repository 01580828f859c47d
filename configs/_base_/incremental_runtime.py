default_scope = 'mmseg'
custom_imports = dict(
    imports=['mmseg_incremental'], allow_failed_imports=False)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(
    type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=42)
# Each step is evaluated at its end, over all seen classes.
validate_during_step = False
# The teacher needs no gradient: see TeacherSnapshotHook for what that allows.
teacher = dict(fold_batch_norm=True, dtype=None, compile=False)
# Whether to say at the end where the time went.
profile = False
