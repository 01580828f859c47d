# Cross entropy on the new classes alone: what forgetting costs.
method = dict(name='finetune', classifier_init='random')
