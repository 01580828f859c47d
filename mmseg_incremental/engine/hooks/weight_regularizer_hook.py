import os.path as osp
from typing import Dict, Optional, Sequence, Tuple

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.models.classifier_growth import grow_as_loaded
from ..checkpoints import read_checkpoint, save_atomically
from ..distributed import on_main_process, unwrap_model
from ..regularizers import (IMPORTANCE_FILE, build_regularizers,
                            check_optimizer, read_importance)

STATE_KEY = 'weight_regularizers'
# Iterations; a penalty waits for the device.
LOG_INTERVAL = 50


@HOOKS.register_module()
class WeightRegularizerHook(Hook):
    """Let regularizers watch the weights from step 0 on, and hold them.

    They act when the optimizer is about to use the gradients, which are
    complete then: unscaled, averaged over accumulated batches and ranks.
    At the end of a step what the next one needs is written to
    ``importance.pth`` beside the step's checkpoint, in which it is not.

    Args:
        regularizers (Sequence[dict]): Configs of
            :class:`BaseWeightRegularizer`.
        importance (str, optional): ``importance.pth`` of the step before.
            Defaults to None, for step 0.
        anchor (str, optional): Checkpoint of the step before. Defaults to
            None, for step 0.
    """

    # Its file is there before StepCheckpointHook (LOW) publishes the step.
    priority = 'BELOW_NORMAL'

    def __init__(self,
                 regularizers: Sequence[dict],
                 importance: Optional[str] = None,
                 anchor: Optional[str] = None) -> None:
        self.regularizers = build_regularizers(regularizers)
        self.importance = importance
        self.anchor = anchor
        self.resumed: Optional[dict] = None
        self.handle: Optional[RemovableHandle] = None
        self.finished = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember the state of the run that is resumed.

        Args:
            runner (Runner): The runner of the step.
            checkpoint (dict): What is loaded.

        Raises:
            IncrementalConfigError: If a step that is resumed was trained
                without these regularizers.
        """
        if not runner._resume:
            return
        self.resumed = checkpoint.get(STATE_KEY) or {}
        missing = sorted(set(self.regularizers) - set(self.resumed))
        if missing:
            raise IncrementalConfigError(
                f'the checkpoint to resume in {runner.work_dir} has no state '
                f'of {", ".join(missing)}; resume with the method it was '
                'trained by, or remove the folder to train the step anew.')

    def before_train(self, runner: Runner) -> None:
        """Begin the step.

        Args:
            runner (Runner): The runner of the step.

        Raises:
            IncrementalConfigError: If the importance of the step before is
                of another method or model, or the optimizer cannot be
                watched.
        """
        model = unwrap_model(runner)
        params = {n: p for n, p in model.named_parameters() if p.requires_grad}
        carried, anchor = self._read_step_before(runner)
        for name, regularizer in self.regularizers.items():
            if self.importance is not None and name not in carried:
                runner.logger.warning(
                    f'{name} begins anew: the step before has left nothing '
                    'of it')
            regularizer.start(params, carried.get(name), anchor)
            if self.resumed is not None:
                regularizer.load_state_dict(self.resumed[name])
            if regularizer.quadratic is not None:
                share = regularizer.quadratic.important_share()
                runner.logger.info(f'{name}: {share:.2%} of the weights have '
                                   'an importance above 0.01')
        check_optimizer(runner.optim_wrapper, list(self.regularizers))
        self.handle = runner.optim_wrapper.optimizer.register_step_pre_hook(
            self._before_step)

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: Optional[dict] = None,
                         outputs: Optional[dict] = None) -> None:
        """Log the penalties now and then.

        Args:
            runner (Runner): The runner of the step.
            batch_idx (int): The index of the current batch in the train loop.
            data_batch (dict, optional): Data from dataloader.
            outputs (dict, optional): Outputs from model.
        """
        if self.every_n_train_iters(runner, LOG_INTERVAL):
            for name, regularizer in self.regularizers.items():
                runner.message_hub.update_scalar(f'train/penalty_{name}',
                                                 regularizer.penalty())

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the state to a checkpoint inside the step.

        The final one, which is saved after the training, does without.

        Args:
            runner (Runner): The runner of the step.
            checkpoint (dict): The checkpoint about to be saved.
        """
        if self.finished:
            return
        checkpoint[STATE_KEY] = {
            name: regularizer.state_dict()
            for name, regularizer in self.regularizers.items()
        }

    def after_train(self, runner: Runner) -> None:
        """Write ``importance.pth``.

        Args:
            runner (Runner): The runner of the step.
        """
        self.handle.remove()
        self.finished = True
        for regularizer in self.regularizers.values():
            regularizer.finish()
        states = {
            name: regularizer.state_dict(carried_only=True)
            for name, regularizer in self.regularizers.items()
        }
        on_main_process(save_atomically, states,
                        osp.join(runner.work_dir, IMPORTANCE_FILE))

    def _before_step(self, optimizer: Optimizer, args: tuple,
                     kwargs: dict) -> None:
        # All of them see the gradients of the losses alone.
        for regularizer in self.regularizers.values():
            regularizer.watch()
        for regularizer in self.regularizers.values():
            regularizer.pull_back()

    def _read_step_before(
            self, runner: Runner) -> Tuple[dict, Optional[Dict[str, Tensor]]]:
        """Importances by regularizer, and weights, of the step before."""
        if self.importance is None:
            return {}, None
        carried = read_importance(self.importance, self.regularizers)
        anchor = read_checkpoint('the step before', self.anchor)['state_dict']
        # What the step starts from: MiB's initialisation moves the background.
        grow_as_loaded(unwrap_model(runner), anchor)
        return carried, anchor
