from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS, MODELS

from ..checkpoints import read_checkpoint


@HOOKS.register_module()
class WeightFusionHook(Hook):
    """Fuse the weights of a finished step with those of the step before.

    It changes the final checkpoint alone, where EMA has put its weights in
    already: the weights that are trained, and all checkpoints inside the
    step, stay as they are.

    Args:
        fusion (dict): Config of what fuses, such as
            :class:`EndpointsWeightFusion`.
        checkpoint (str): Checkpoint of the step before.
        num_old (int): Number of classes before the step, with background.
        num_seen (int): Number of classes after it.
    """

    # After EMAHook (NORMAL), before StepCheckpointHook (LOW).
    priority = 'BELOW_NORMAL'

    def __init__(self, fusion: dict, checkpoint: str, num_old: int,
                 num_seen: int) -> None:
        self.fusion = MODELS.build(fusion)
        self.checkpoint = checkpoint
        self.num_old = num_old
        self.num_seen = num_seen
        self.finishing = False

    def before_train(self, runner: Runner) -> None:
        """Read the weights of the step before once on every process.

        At the end one process alone reads them: an error would leave the
        others waiting for it.

        Args:
            runner (Runner): The runner of the step.
        """
        read_checkpoint('the step before', self.checkpoint)

    def after_train(self, runner: Runner) -> None:
        """Note that the next checkpoint is the final one.

        Args:
            runner (Runner): The runner of the step.
        """
        self.finishing = True

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Fuse the weights of the final checkpoint.

        Args:
            runner (Runner): The runner of the step.
            checkpoint (dict): The checkpoint about to be saved.
        """
        if not self.finishing:
            return
        before = read_checkpoint('the step before',
                                 self.checkpoint)['state_dict']
        checkpoint['state_dict'] = self.fusion.fuse(before,
                                                    checkpoint['state_dict'],
                                                    self.num_old,
                                                    self.num_seen)
        fused = sum(t.is_floating_point() for t in before.values())
        runner.logger.info(
            f'{type(self.fusion).__name__}: {fused} tensors fused with '
            f'{self.checkpoint}')
