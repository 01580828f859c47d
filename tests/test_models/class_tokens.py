"""A backbone that gives class tokens, and the head that reads them."""

VIT = dict(
    type='VisionTransformer',
    img_size=64,
    embed_dims=8,
    num_layers=4,
    num_heads=2,
    out_indices=(0, 1, 2, 3),
    output_cls_token=True)
# Arguments of ``DPTHead``.
DPT = dict(
    in_channels=(8, ) * 4,
    in_index=(0, 1, 2, 3),
    input_transform='multiple_select',
    embed_dims=8,
    post_process_channels=[4] * 4,
    readout_type='project')
