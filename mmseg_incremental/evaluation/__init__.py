from .continual import (average_iou, backward_transfer, forgetting,
                        harmonic_mean, summarize)
from .iou_metric import IncrementalIoUMetric
from .repeats import repeats_table
from .report import write_report
from .results import build_results, collect_versions, iou_matrix, step_record
from .results_io import (load_results, load_step_records, save_step_record,
                         write_results)
from .tables import results_table, step_table, summary_row

__all__ = [
    'IncrementalIoUMetric', 'average_iou', 'backward_transfer',
    'build_results', 'collect_versions', 'forgetting', 'harmonic_mean',
    'iou_matrix', 'load_results', 'load_step_records', 'repeats_table',
    'results_table', 'save_step_record', 'step_record', 'step_table',
    'summarize', 'summary_row', 'write_report', 'write_results'
]
