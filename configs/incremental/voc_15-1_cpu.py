# Rates and number of iterations of 10-1 serve here too. The paper's weight for
# one class a step is the best of 10, 30 and 100 on a held-out fifth of the
# training images.
_base_ = './voc_10-1_cpu.py'
scenario = dict(task='15-1')
part_options = dict(UnbiasedDistillationLoss=dict(loss_weight=100.0))
method = dict(
    distillation=[dict(type='UnbiasedDistillationLoss', loss_weight=100.0)])
