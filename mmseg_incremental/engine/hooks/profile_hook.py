from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..distributed import unwrap_model
from ..profile import Profile


@HOOKS.register_module()
class ProfileHook(Hook):
    """Divide the time of a Runner into phases.

    A forward pass of the evaluation is one call of the segmentor; with test
    time augmentation there is none, and all counts as metric. When an
    interrupted step goes on, the data that it skips counts as first batch.

    Args:
        name (str): Name of the :class:`Profile`, the work dir of the run.
    """

    # After LoggerHook (BELOW_NORMAL), before CheckpointHook (VERY_LOW).
    priority = 'LOW'

    def __init__(self, name: str) -> None:
        self.name = name
        self.prefix = ''
        self.saving = False
        self.is_first = True

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

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """The weights to start from are read.

        Args:
            runner (Runner): The runner of the step.
            checkpoint (dict): What was read.
        """
        self.stop('loading')

    def before_train(self, runner: Runner) -> None:
        """Model, teacher and all that a method needs first are ready.

        Args:
            runner (Runner): The runner of the step.
        """
        self.stop('preparation')

    def before_train_iter(self, runner: Runner, *args: Any,
                          **kwargs: Any) -> None:
        """A batch is there.

        Args:
            runner (Runner): The runner of the step.
        """
        self.stop('first batch' if self.is_first else 'waiting for data')

    def before_test_iter(self, runner: Runner, *args: Any,
                         **kwargs: Any) -> None:
        """Images are there.

        Args:
            runner (Runner): The runner of the evaluation.
        """
        self.before_train_iter(runner)
        self.is_first = False

    def after_train_iter(self, runner: Runner, *args: Any,
                         **kwargs: Any) -> None:
        """An iteration is over.

        Args:
            runner (Runner): The runner of the step.
        """
        self.stop('first iteration' if self.is_first else 'iterations')
        self.is_first = False

    def before_val(self, runner: Runner) -> None:
        """A validation during training begins.

        Args:
            runner (Runner): The runner of the step.
        """
        if self.saving:
            self.stop('checkpoints')

    def after_val(self, runner: Runner) -> None:
        """A validation during training is over.

        Args:
            runner (Runner): The runner of the step.
        """
        self.stop('validation')

    def after_train(self, runner: Runner) -> None:
        """All iterations are done, and what follows them on the weights.

        Args:
            runner (Runner): The runner of the step.
        """
        self.stop('end of training')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Model and optimizer are copied; now the file is written.

        Args:
            runner (Runner): The runner of the step.
            checkpoint (dict): The checkpoint about to be saved.
        """
        self.stop('checkpoints')
        self.saving = True

    def before_test(self, runner: Runner) -> None:
        """All is ready; from now on forward passes are timed.

        Args:
            runner (Runner): The runner of the evaluation.
        """
        self.stop('preparation')
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
        self.stop('end')
