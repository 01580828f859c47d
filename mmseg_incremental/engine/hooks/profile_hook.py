from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..distributed import unwrap_model
from ..profile import Profile


@HOOKS.register_module()
class ProfileHook(Hook):
    """Divide the time of a Runner into phases.

    Checkpoints are told from what follows them by the next stop, before which
    nothing else takes time worth naming.

    Args:
        name (str): Name of the :class:`Profile`, the work dir of the run.
    """

    # After LoggerHook (BELOW_NORMAL), before CheckpointHook (VERY_LOW).
    priority = 'LOW'

    def __init__(self, name: str) -> None:
        self.name = name
        self.prefix = ''
        self.saving = False
        self.first = True

    def stop(self, phase: str) -> None:
        """End a phase, or the checkpoint that was written in it.

        Args:
            phase (str): What has happened since the last stop.
        """
        phase = 'checkpoints' if self.saving else self.prefix + phase
        self.saving = False
        Profile.get_instance(self.name).stop(phase)

    def before_run(self, runner: Runner) -> None:
        """Runner, data sets and loaders are built.

        Args:
            runner (Runner): The runner of the step.
        """
        if runner.cfg.get('train_cfg') is None:
            self.prefix = 'evaluation: '
        self.stop('building')

    def before_train(self, runner: Runner) -> None:
        """Weights and teacher are loaded and prepared.

        Args:
            runner (Runner): The runner of the step.
        """
        self.stop('loading')

    def before_train_iter(self, runner: Runner, *args: Any,
                          **kwargs: Any) -> None:
        """A batch is there.

        Args:
            runner (Runner): The runner of the step.
        """
        self.stop('first batch' if self.first else 'waiting for data')
        self.first = False

    before_test_iter = before_train_iter

    def after_train_iter(self, runner: Runner, *args: Any,
                         **kwargs: Any) -> None:
        """An iteration is over.

        Args:
            runner (Runner): The runner of the step.
        """
        self.stop('iterations')

    def after_val_epoch(self, runner: Runner, *args: Any,
                        **kwargs: Any) -> None:
        """A validation during training is over.

        Args:
            runner (Runner): The runner of the step.
        """
        self.stop('validation')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """What comes now until the next stop is the writing of a file.

        Args:
            runner (Runner): The runner of the step.
            checkpoint (dict): The checkpoint about to be saved.
        """
        self.stop('end of training')
        self.saving = True

    def before_test(self, runner: Runner) -> None:
        """Weights are loaded; from now on forward passes are timed.

        Args:
            runner (Runner): The runner of the evaluation.
        """
        self.stop('loading')
        model = unwrap_model(runner)
        model.register_forward_pre_hook(lambda *_: self.stop('inputs'))
        model.register_forward_hook(lambda *_: self.stop('forward'))

    def after_test_iter(self, runner: Runner, *args: Any,
                        **kwargs: Any) -> None:
        """An image is counted.

        Args:
            runner (Runner): The runner of the evaluation.
        """
        self.stop('metric')

    def after_test_epoch(self, runner: Runner, *args: Any,
                         **kwargs: Any) -> None:
        """All images are counted.

        Args:
            runner (Runner): The runner of the evaluation.
        """
        self.stop('metric')

    def after_run(self, runner: Runner) -> None:
        """The runner is done.

        Args:
            runner (Runner): The runner of the step.
        """
        self.stop('end of training' if not self.prefix else 'end')
