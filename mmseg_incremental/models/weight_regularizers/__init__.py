from .base import BaseWeightRegularizer
from .elastic_weight_consolidation import ElasticWeightConsolidation
from .path_integral import PathIntegral
from .riemannian_walk import RiemannianWalk

__all__ = [
    'BaseWeightRegularizer', 'ElasticWeightConsolidation', 'PathIntegral',
    'RiemannianWalk'
]
