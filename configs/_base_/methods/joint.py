# All classes at once, labelled in every image: the upper bound ("offline").
method = dict(name='joint', joint=True)
