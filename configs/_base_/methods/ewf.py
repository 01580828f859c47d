# Endpoints Weight Fusion, https://doi.org/10.1109/CVPR52729.2023.00696, on
# MiB. The official code has MiB's default weight at one class a step too.
_base_ = './mib.py'
method = dict(
    name='ewf',
    keeps_weights=True,
    fixed_old_classifier=True,
    weight_fusion=dict(type='EndpointsWeightFusion'))
