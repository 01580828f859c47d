_base_ = './voc_15-5.py'
scenario = dict(task='15-1')
# The weight of the paper at one class a step; the code's default is 10.
part_options = dict(UnbiasedDistillationLoss=dict(loss_weight=100.0))
