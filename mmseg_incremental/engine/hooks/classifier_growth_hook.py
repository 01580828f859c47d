from typing import Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from mmseg_incremental.errors import IncrementalConfigError
from ..checkpoints import check_fit
from ..distributed import unwrap_model


@HOOKS.register_module()
class ClassifierGrowthHook(Hook):
    """Carry classifier rows over by class name when a checkpoint is loaded.

    It edits the state dict before the model and the EMA model see it, so
    both start from the same weights. Resuming changes nothing, as the names
    are the same.

    Args:
        classes (Sequence[str]): Class names of the model, in head order.
    """

    # Before EMAHook (NORMAL), which loads the same state dict.
    priority = 'VERY_HIGH'

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = list(classes)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Grow the state dict of ``checkpoint`` in place.

        Args:
            runner (Runner): The runner of the step.
            checkpoint (dict): With ``meta.dataset_meta.classes``.

        Raises:
            IncrementalConfigError: If the checkpoint has other classes or is
                of another model.
        """
        meta = checkpoint.get('meta', {}).get('dataset_meta') or {}
        source = meta.get('classes', meta.get('CLASSES'))
        if source is None or list(source) == self.classes:
            return
        foreign = [name for name in source if name not in self.classes]
        if foreign:
            raise IncrementalConfigError(
                f'the checkpoint to start from has the classes {foreign}, '
                f'which are none of the classes seen so far {self.classes}; '
                'use a checkpoint of the step before.')
        model = unwrap_model(runner)
        model.grow_state_dict(checkpoint['state_dict'], source, self.classes)
        # MMEngine would skip what does not fit with a line in the log.
        check_fit(model, checkpoint['state_dict'],
                  'the checkpoint of the step before')
