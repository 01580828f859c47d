import json
import os
import os.path as osp
from typing import Optional

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..data_check import count_images
from ..distributed import on_main_process
from ..stock_config import DEPLOY_CONFIG, write_deploy_config

FINAL = 'final.pth'


@HOOKS.register_module()
class StepCheckpointHook(Hook):
    """Write the step's final checkpoint, and say in each what step it is.

    ``final.pth`` appears only when the step is trained to its end, in one
    move, and holds what MMSegmentation needs (``meta`` and ``state_dict``)
    in types that ``torch.load(weights_only=True)`` accepts. Where EMA is on
    it holds the averaged weights, as every checkpoint of MMEngine. Beside it
    lies ``deploy.py``, the stock config that runs it.

    Args:
        step (int): The step, counted from 0.
        method (str): Name of the method.
        scenario (dict): Arguments of the scenario.
        pretrained_left_out (str, optional): Pretrained weights that could
            not be fetched, and why. Defaults to None.
        holdout (dict, optional): The part of the training images that was
            left out. Defaults to None.
    """

    # Before CheckpointHook (VERY_LOW), after EMA has put its weights in.
    priority = 'LOW'

    def __init__(self,
                 step: int,
                 method: str,
                 scenario: dict,
                 pretrained_left_out: Optional[str] = None,
                 holdout: Optional[dict] = None) -> None:
        # Through JSON: a checkpoint must not hold MMEngine's config types.
        self.info = json.loads(
            json.dumps(
                dict(
                    step=step,
                    method=method,
                    scenario=scenario,
                    pretrained_left_out=pretrained_left_out,
                    holdout=holdout)))
        self.training = False
        self.finishing = False

    def before_train(self, runner: Runner) -> None:
        """Count the images of the step.

        Args:
            runner (Runner): The runner of the step.
        """
        self.training = True
        self.info['num_train_images'] = count_images(
            runner.train_dataloader.dataset)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the step's facts to ``checkpoint['meta']['incremental']``.

        Args:
            runner (Runner): The runner of the step.
            checkpoint (dict): The checkpoint about to be saved.
        """
        if not self.training:
            return
        checkpoint['meta'].setdefault('incremental', {}).update(self.info)
        if self.finishing:
            for key in ('message_hub', 'ema_state_dict'):
                checkpoint.pop(key, None)

    def after_train(self, runner: Runner) -> None:
        """Publish ``final.pth`` and ``deploy.py``.

        Args:
            runner (Runner): The runner of the step.
        """
        partial = f'{FINAL}.partial'
        self.finishing = True
        runner.save_checkpoint(
            runner.work_dir,
            partial,
            save_optimizer=False,
            save_param_scheduler=False)
        self.finishing = False
        on_main_process(_publish, runner.cfg, osp.join(runner.work_dir,
                                                       partial))


def _publish(cfg: Config, partial: str) -> None:
    folder = osp.dirname(partial)
    write_deploy_config(cfg, osp.join(folder, DEPLOY_CONFIG))
    os.replace(partial, osp.join(folder, FINAL))
