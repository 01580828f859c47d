from .channels_last_hook import ChannelsLastHook
from .classifier_growth_hook import ClassifierGrowthHook
from .invalid_loss_hook import InvalidLossHook
from .panel_hook import PanelHook
from .step_checkpoint_hook import StepCheckpointHook
from .teacher_snapshot_hook import TeacherSnapshotHook

__all__ = [
    'ChannelsLastHook', 'ClassifierGrowthHook', 'InvalidLossHook', 'PanelHook',
    'StepCheckpointHook', 'TeacherSnapshotHook'
]
