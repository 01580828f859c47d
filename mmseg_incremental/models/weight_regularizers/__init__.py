from .base import BaseWeightRegularizer
from .elastic_weight_consolidation import ElasticWeightConsolidation
from .path_integral import PathIntegral
from .riemannian_walk import RiemannianWalk
from .tensors import scale_to_one

__all__ = [
    'BaseWeightRegularizer', 'ElasticWeightConsolidation', 'PathIntegral',
    'RiemannianWalk', 'scale_to_one'
]
