from .channels_last_hook import ChannelsLastHook
from .classifier_growth_hook import ClassifierGrowthHook
from .fixed_classifier_hook import FixedClassifierHook
from .invalid_loss_hook import InvalidLossHook
from .label_completion_hook import LabelCompletionHook
from .panel_hook import PanelHook
from .profile_hook import ProfileHook
from .step_checkpoint_hook import StepCheckpointHook
from .teacher_snapshot_hook import TeacherSnapshotHook
from .training_cost_hook import TrainingCostHook
from .weight_fusion_hook import WeightFusionHook
from .weight_regularizer_hook import WeightRegularizerHook

__all__ = [
    'ChannelsLastHook', 'ClassifierGrowthHook', 'FixedClassifierHook',
    'InvalidLossHook', 'LabelCompletionHook', 'PanelHook', 'ProfileHook',
    'StepCheckpointHook', 'TeacherSnapshotHook', 'TrainingCostHook',
    'WeightFusionHook', 'WeightRegularizerHook'
]
