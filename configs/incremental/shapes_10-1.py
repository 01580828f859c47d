_base_ = [
    '../_base_/models/aspp_r18-w16-d8.py', '../_base_/datasets/shapes.py',
    '../_base_/schedules/shapes.py', '../_base_/methods/mib.py',
    '../_base_/incremental_runtime.py'
]
scenario = dict(task='10-1', setting='overlapped')
# The published weights belong to a rate of 0.001 and diverge at 0.02.
part_options = dict(
    ElasticWeightConsolidation=dict(loss_weight=25.0),
    PathIntegral=dict(loss_weight=25.0),
    RiemannianWalk=dict(loss_weight=5.0))
model = dict(data_preprocessor=dict(size=(128, 128)))
