# Endpoints Weight Fusion, https://doi.org/10.1109/CVPR52729.2023.00696, on
# MiB.
_base_ = './mib.py'
method = dict(
    name='ewf',
    fixed_old_classifier=True,
    weight_fusion=dict(type='EndpointsWeightFusion'))
