from .config import load_config, load_method
from .hooks import (ClassifierGrowthHook, PanelHook, StepCheckpointHook,
                    TeacherSnapshotHook)
from .scenario_config import build_scenario
from .step import evaluate_step, train_step
from .step_config import build_step_cfg, build_test_cfg
from .steps import run_steps
from .stock_config import to_stock_model, write_deploy_config

__all__ = [
    'ClassifierGrowthHook', 'PanelHook', 'StepCheckpointHook',
    'TeacherSnapshotHook', 'build_scenario', 'build_step_cfg',
    'build_test_cfg', 'evaluate_step', 'load_config', 'load_method',
    'run_steps', 'to_stock_model', 'train_step', 'write_deploy_config'
]
