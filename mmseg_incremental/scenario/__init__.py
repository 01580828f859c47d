from .class_orders import PUBLISHED_ORDERS, get_class_order
from .labels import VOID
from .protocols import PROTOCOLS, SETTINGS
from .scenario import ClassIncrementalScenario

__all__ = [
    'PROTOCOLS', 'PUBLISHED_ORDERS', 'SETTINGS', 'VOID',
    'ClassIncrementalScenario', 'get_class_order'
]
