# Rates and number of iterations are those of 10-1, the weight is the paper's
# for one class a step. The background does not last, see REPRODUCIBILITY.md.
_base_ = './voc_10-1_cpu.py'
scenario = dict(task='15-1')
part_options = dict(UnbiasedDistillationLoss=dict(loss_weight=100.0))
method = dict(
    distillation=[dict(type='UnbiasedDistillationLoss', loss_weight=100.0)])
