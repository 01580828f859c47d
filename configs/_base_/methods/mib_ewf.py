# MiB and the average of the weights, the classifier free to move.
_base_ = './mib.py'
method = dict(name='mib_ewf', weight_fusion=dict(type='EndpointsWeightFusion'))
